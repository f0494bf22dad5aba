# `cmake --install`, and the package Nullspace for passes built out of tree (examples/standalone-pass), from the install
# tree or from the build tree (-DNullspace_DIR=<build>/lib/cmake/Nullspace).

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(NS_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Nullspace)

# The headers, written and generated. A plugin finds the code behind them in the ns-opt that loads it.
add_library(NullspaceHeaders INTERFACE)
set_target_properties(NullspaceHeaders PROPERTIES EXPORT_NAME Headers)
target_include_directories(NullspaceHeaders INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

set(NS_TOOLS)
foreach(tool ns-opt ns-import ns-compile ns-lsp-server)
  if(TARGET ${tool})
    list(APPEND NS_TOOLS ${tool})
  endif()
endforeach()
foreach(tool ns-opt ns-compile)
  if(TARGET ${tool})
    set_target_properties(${tool} PROPERTIES ENABLE_EXPORTS ON)
  endif()
endforeach()

# MLIR and LLVM are found where they were when linked.
set_target_properties(${NS_TOOLS} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS NullspaceHeaders ${NS_TOOLS} EXPORT NullspaceTargets RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(root ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  install(DIRECTORY ${root}/include/ns DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h" PATTERN "*.inc" PATTERN "*.td" PATTERN "CMakeFiles" EXCLUDE)
endforeach()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/NullspaceConfig.cmake.in
  ${PROJECT_BINARY_DIR}/lib/cmake/Nullspace/NullspaceConfig.cmake INSTALL_DESTINATION ${NS_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lib/cmake/Nullspace/NullspaceConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lib/cmake/Nullspace/NullspaceConfig.cmake
  ${PROJECT_BINARY_DIR}/lib/cmake/Nullspace/NullspaceConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/NullspacePlugin.cmake DESTINATION ${NS_PACKAGE_DIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/NullspacePlugin.cmake
  ${PROJECT_BINARY_DIR}/lib/cmake/Nullspace/NullspacePlugin.cmake COPYONLY)
install(EXPORT NullspaceTargets NAMESPACE Nullspace:: DESTINATION ${NS_PACKAGE_DIR})
export(TARGETS NullspaceHeaders ${NS_TOOLS} NAMESPACE Nullspace::
  FILE ${PROJECT_BINARY_DIR}/lib/cmake/Nullspace/NullspaceTargets.cmake)
