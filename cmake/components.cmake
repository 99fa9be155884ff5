if(STROMA_INSTALL)
  include(GNUInstallDirs)
endif()
set(STROMA_CMAKE_DIR ${CMAKE_INSTALL_DATADIR}/cmake/stroma)

# stroma_add_component(<name> [LINKS <targets>] [EXTERNAL <found or fetched targets>])
function(stroma_add_component name)
  cmake_parse_arguments(arg "" "" "LINKS;EXTERNAL" ${ARGN})
  add_library(stroma_${name} INTERFACE)
  add_library(stroma::${name} ALIAS stroma_${name})
  set_target_properties(stroma_${name} PROPERTIES EXPORT_NAME ${name})
  target_link_libraries(stroma_${name} INTERFACE ${arg_LINKS})
  # A fetched target belongs to no export set; stroma-config.cmake finds the package and links it again.
  foreach(target IN LISTS arg_EXTERNAL)
    target_link_libraries(stroma_${name} INTERFACE $<BUILD_INTERFACE:${target}>)
  endforeach()
  if(STROMA_INSTALL)
    install(TARGETS stroma_${name} EXPORT stroma-${name}-targets)
    install(EXPORT stroma-${name}-targets NAMESPACE stroma:: DESTINATION ${STROMA_CMAKE_DIR})
  endif()
endfunction()

function(stroma_install_package)
  include(CMakePackageConfigHelpers)
  configure_package_config_file(cmake/stroma-config.cmake.in "${PROJECT_BINARY_DIR}/stroma-config.cmake"
    INSTALL_DESTINATION ${STROMA_CMAKE_DIR})
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/stroma-config-version.cmake"
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
  install(FILES "${PROJECT_BINARY_DIR}/stroma-config.cmake" "${PROJECT_BINARY_DIR}/stroma-config-version.cmake"
    DESTINATION ${STROMA_CMAKE_DIR})
  install(DIRECTORY include/stroma DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
endfunction()
