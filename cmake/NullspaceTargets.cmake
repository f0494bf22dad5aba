# Helpers for the libraries that use MLIR. They have no RTTI and no exceptions, as LLVM, and share
# one precompiled header.

separate_arguments(NS_LLVM_DEFINITIONS NATIVE_COMMAND "${LLVM_DEFINITIONS}")

function(ns_llvm_options target)
  target_include_directories(${target} SYSTEM PRIVATE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
  target_compile_definitions(${target} PRIVATE ${NS_LLVM_DEFINITIONS})
  target_compile_options(${target} PRIVATE -fno-rtti -fno-exceptions -Wall -Wno-comment)
endfunction()

# ns_add_library(<name> SOURCES ... DEPENDS <tablegen targets> LINK <targets>)
function(ns_add_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  ns_llvm_options(${name})
  if(NOT name STREQUAL "NSPch")
    target_precompile_headers(${name} REUSE_FROM NSPch)
    add_dependencies(${name} NSPch)
  endif()
  # Every library sees every generated header: TableGen takes a second, ordering bugs take an hour.
  add_dependencies(${name} ns-headers ${ARG_DEPENDS})
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
  set_property(GLOBAL APPEND PROPERTY NS_LIBS ${name})
endfunction()

# ns_add_tool(<name> SOURCES ... LINK <targets>): a main, linked to the shared libMLIR with lld.
function(ns_add_tool name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  ns_llvm_options(${name})
  add_dependencies(${name} ns-headers)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} MLIR LLVM)
  target_link_options(${name} PRIVATE -fuse-ld=lld -B${LLVM_TOOLS_BINARY_DIR})
endfunction()

# ns_tablegen(<file.td> <output> <args...>), collected by ns_tablegen_target.
function(ns_dialect_tablegen name prefix)
  set(LLVM_TARGET_DEFINITIONS ${prefix}Ops.td)
  mlir_tablegen(${prefix}Ops.h.inc -gen-op-decls)
  mlir_tablegen(${prefix}Ops.cpp.inc -gen-op-defs)
  mlir_tablegen(${prefix}Dialect.h.inc -gen-dialect-decls -dialect=${name})
  mlir_tablegen(${prefix}Dialect.cpp.inc -gen-dialect-defs -dialect=${name})
  mlir_tablegen(${prefix}Attrs.h.inc -gen-attrdef-decls -attrdefs-dialect=${name})
  mlir_tablegen(${prefix}Attrs.cpp.inc -gen-attrdef-defs -attrdefs-dialect=${name})
  set(LLVM_TARGET_DEFINITIONS ${prefix}Enums.td)
  mlir_tablegen(${prefix}Enums.h.inc -gen-enum-decls)
  mlir_tablegen(${prefix}Enums.cpp.inc -gen-enum-defs)
  add_public_tablegen_target(${prefix}IncGen)
  add_dependencies(ns-headers ${prefix}IncGen)
endfunction()

function(ns_pass_tablegen prefix)
  set(LLVM_TARGET_DEFINITIONS Passes.td)
  mlir_tablegen(Passes.h.inc -gen-pass-decls -name ${prefix})
  add_public_tablegen_target(${prefix}PassIncGen)
  add_dependencies(ns-headers ${prefix}PassIncGen)
endfunction()
