# nullspace_add_pass_plugin(<name> SOURCES <file>...): a module that `ns-opt --load-pass-plugin=<file>` loads. It links
# nothing: the dialects are those of the ns-opt that loads it, and MLIR is the shared library that ns-opt runs with.
function(nullspace_add_pass_plugin name)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_library(${name} MODULE ${ARG_SOURCES})
  separate_arguments(definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")
  target_compile_definitions(${name} PRIVATE ${definitions})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_compile_options(${name} PRIVATE -fno-rtti -fno-exceptions)
  target_include_directories(${name} SYSTEM PRIVATE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
  target_link_libraries(${name} PRIVATE Nullspace::Headers)
  set_target_properties(${name} PROPERTIES PREFIX "")
endfunction()
