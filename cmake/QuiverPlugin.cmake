# quiver_add_plugin(NAME SOURCES file.. [LIBRARIES target..] [COMPONENT name])
#
# Builds one plugin, NAME.so. Used by this tree and, installed with the SDK, by plugins outside it:
# everything is hidden but the one entry symbol, and an undefined symbol is a link error rather than
# a surprise at load time.
set(QUIVER_PLUGIN_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/plugin-exports.map)

function(quiver_add_plugin name)
  cmake_parse_arguments(ARG "" "COMPONENT" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT ARG_SOURCES)
    message(FATAL_ERROR "quiver_add_plugin(${name}): SOURCES is empty")
  endif()
  add_library(${name} MODULE ${ARG_SOURCES})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_link_libraries(${name} PRIVATE quiver::sdk ${ARG_LIBRARIES})
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so"
    CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${QUIVER_PLUGIN_EXPORTS})
  target_link_options(${name} PRIVATE
    -Wl,--version-script=${QUIVER_PLUGIN_EXPORTS} -Wl,-z,now -Wl,-z,relro)
  if(NOT QUIVER_SANITIZE AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    # Sanitizer runtimes are resolved in the host.
    target_link_options(${name} PRIVATE -Wl,--no-undefined)
  endif()
endfunction()
