# .deb packages by CPack: quiver (the programs), quiver-sdk (headers and CMake package), and one
# quiver-plugin-NAME a plugin. `cpack --config build/release/CPackConfig.cmake` makes them.
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/quiver RENAME copyright COMPONENT host)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/quiver-sdk RENAME copyright COMPONENT sdk)
install(FILES README.md docs/plugins.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/quiver COMPONENT host)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME quiver)
set(CPACK_PACKAGE_VENDOR "The Quiver authors")
set(CPACK_PACKAGE_CONTACT "The Quiver authors <quiver@invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL host sdk)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
# Dependencies on other packages' libraries are read from the binaries, where the tool for it is here.
find_program(QUIVER_SHLIBDEPS dpkg-shlibdeps)
if(QUIVER_SHLIBDEPS)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  # The library that comes in the same package as the program.
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/core/text)
endif()

# Debian's package names have no underscores.
set(plugin_packages "")
foreach(plugin IN LISTS QUIVER_CHOSEN_PLUGINS)
  string(REPLACE "_" "-" package quiver-plugin-${plugin})
  list(APPEND plugin_packages ${package})
  list(APPEND CPACK_COMPONENTS_ALL ${plugin})
  string(TOUPPER ${plugin} component)
  set(CPACK_DEBIAN_${component}_PACKAGE_NAME ${package})
  set(CPACK_DEBIAN_${component}_PACKAGE_DEPENDS "quiver (>= ${PROJECT_VERSION})")
  set(CPACK_COMPONENT_${component}_DESCRIPTION "Plugin ${plugin} for Quiver")
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} RENAME copyright
    COMPONENT ${plugin})
endforeach()
list(JOIN plugin_packages ", " plugin_packages)

set(CPACK_DEBIAN_HOST_PACKAGE_NAME quiver)
set(CPACK_DEBIAN_HOST_PACKAGE_RECOMMENDS "${plugin_packages}")
set(CPACK_COMPONENT_HOST_DESCRIPTION "${PROJECT_DESCRIPTION}")
set(CPACK_DEBIAN_SDK_PACKAGE_NAME quiver-sdk)
set(CPACK_DEBIAN_SDK_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_SDK_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_SDK_PACKAGE_SUGGESTS "quiver, cmake, g++")
set(CPACK_COMPONENT_SDK_DESCRIPTION "Headers and CMake package to build plugins for Quiver")
include(CPack)
