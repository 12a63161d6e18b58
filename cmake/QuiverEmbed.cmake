# quiver_embed_templates(target folder file..): compiles text files into a target, as the table that
# core/plugin/project_templates.hpp declares. Files are named relative to the folder and end in .in.
function(quiver_embed_templates target folder)
  set(rows "")
  foreach(file IN LISTS ARGN)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${folder}/${file})
    file(READ ${folder}/${file} content)
    string(REGEX REPLACE "\\.in$" "" name ${file})
    string(APPEND rows "    {\"${name}\",\n     R\"quiver_text(${content})quiver_text\"},\n")
  endforeach()
  set(output ${CMAKE_CURRENT_BINARY_DIR}/project_templates.cpp)
  # Written aside first, so that an unchanged table is not compiled again.
  file(WRITE ${output}.new
    "// Made by cmake/QuiverEmbed.cmake from the files in ${folder}.\n"
    "#include \"core/plugin/project_templates.hpp\"\n\n"
    "namespace quiver {\n\n"
    "std::span<const ProjectTemplate> project_templates() noexcept {\n"
    "  static constexpr ProjectTemplate kTemplates[] = {\n${rows}  };\n"
    "  return kTemplates;\n}\n\n}  // namespace quiver\n")
  file(COPY_FILE ${output}.new ${output} ONLY_IF_DIFFERENT)
  target_sources(${target} PRIVATE ${output})
endfunction()

# quiver_embed_text(target file header function): compiles a text file into a target, as what
# `std::string_view function() noexcept` of the header returns.
function(quiver_embed_text target file header name)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} content)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${name}.cpp)
  file(WRITE ${output}.new
    "// Made by cmake/QuiverEmbed.cmake from ${file}.\n"
    "#include \"${header}\"\n\n"
    "namespace quiver {\n\n"
    "std::string_view ${name}() noexcept {\n"
    "  return R\"quiver_text(${content})quiver_text\";\n}\n\n}  // namespace quiver\n")
  file(COPY_FILE ${output}.new ${output} ONLY_IF_DIFFERENT)
  target_sources(${target} PRIVATE ${output})
endfunction()
