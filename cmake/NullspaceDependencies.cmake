# Everything the build needs from outside, found once.

find_package(MLIR REQUIRED CONFIG)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "MLIR 22 is needed, found ${LLVM_PACKAGE_VERSION} in ${MLIR_DIR}")
endif()
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)
message(STATUS "MLIR ${LLVM_PACKAGE_VERSION} in ${MLIR_DIR}")

find_package(Eigen3 3.3 REQUIRED NO_MODULE)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(PNG REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(GTest)

find_path(TURBOJPEG_INCLUDE_DIR turbojpeg.h REQUIRED)
find_library(TURBOJPEG_LIBRARY turbojpeg REQUIRED)

# LibTorch: the wheel of the Python interpreter in .venv, or -DNS_TORCH_DIR=<.../torch>.
set(NS_PYTHON "${PROJECT_SOURCE_DIR}/.venv/bin/python" CACHE FILEPATH "Python with torch installed")
if(NOT NS_TORCH_DIR)
  execute_process(
    COMMAND ${NS_PYTHON} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE NS_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_VARIABLE NS_TORCH_ERROR)
  if(NOT NS_TORCH_DIR)
    message(FATAL_ERROR "no torch in ${NS_PYTHON}: run `make setup`, or pass -DNS_TORCH_DIR. ${NS_TORCH_ERROR}")
  endif()
endif()
set(NS_TORCH_LIB_DIR ${NS_TORCH_DIR}/lib)
file(STRINGS ${NS_TORCH_DIR}/version.py NS_TORCH_VERSION REGEX "^__version__")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" NS_TORCH_VERSION "${NS_TORCH_VERSION}")
message(STATUS "LibTorch ${NS_TORCH_VERSION} in ${NS_TORCH_DIR}")

# GEMM is MKL inside LibTorch where the wheel exports it (docs/decisions), OpenBLAS elsewhere.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES ${NS_TORCH_LIB_DIR}/libtorch_cpu.so ${NS_TORCH_LIB_DIR}/libc10.so)
set(CMAKE_REQUIRED_LINK_OPTIONS "-Wl,--allow-shlib-undefined")
check_cxx_source_compiles("extern \"C\" void sgemm_(); extern \"C\" void dgemm_();
  int main() { sgemm_(); dgemm_(); }" NS_TORCH_EXPORTS_GEMM)
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_LINK_OPTIONS)
if(NOT NS_TORCH_EXPORTS_GEMM)
  find_package(BLAS REQUIRED)
  message(STATUS "LibTorch exports no sgemm_: using ${BLAS_LIBRARIES}")
endif()
