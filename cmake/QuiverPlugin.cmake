# Builds and tests plugins. Used by this tree and, installed with the SDK, by plugins outside it.

set(QUIVER_PLUGIN_EXPORTS ${CMAKE_CURRENT_LIST_DIR}/plugin-exports.map)

# quiver_add_plugin(NAME SOURCES file.. [LIBRARIES target..])
#
# Builds one plugin, NAME.so: everything is hidden but the one entry symbol, and an undefined symbol
# is a link error rather than a surprise at load time. No product and sum are fused where the source
# does not say so, because what a plugin computes must not depend on the machine it was built for.
function(quiver_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;LIBRARIES")
  if(NOT ARG_SOURCES OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "quiver_add_plugin(${name} SOURCES file.. [LIBRARIES target..])")
  endif()
  add_library(${name} MODULE ${ARG_SOURCES})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_compile_options(${name} PRIVATE -ffp-contract=off)
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

# quiver_add_plugin_test(NAME [option..])
#
# A test that runs `quiver plugins check` with the options on a plugin of quiver_add_plugin. Skipped
# where no quiver is installed; QUIVER_PROGRAM names one.
function(quiver_add_plugin_test name)
  find_program(QUIVER_PROGRAM quiver DOC "The program that checks plugins")
  if(QUIVER_PROGRAM)
    add_test(NAME check-${name}
      COMMAND ${QUIVER_PROGRAM} plugins check $<TARGET_FILE:${name}> ${ARGN})
  else()
    message(STATUS "quiver is not installed, so ${name} is not checked; set QUIVER_PROGRAM")
  endif()
endfunction()
