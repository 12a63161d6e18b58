# What a builder can choose, and the flags that every target of ours gets.
option(QUIVER_TESTS "Build the test suites" ON)
option(QUIVER_BENCH "Build the benchmarks" ON)
option(QUIVER_WERROR "Treat warnings as errors" OFF)
option(QUIVER_FUZZ "Build the fuzz targets (clang only)" OFF)
set(QUIVER_SANITIZE "" CACHE STRING "Sanitizers for everything, e.g. address,undefined")
set(QUIVER_PLUGINS "all" CACHE STRING "Which plugins to build: all, or a list such as arch-llama;quant-affine")
set(QUIVER_SHARED "${CMAKE_SOURCE_DIR}/../shared" CACHE PATH "Folder with reference checkpoints and expected values for the tests")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)

find_program(QUIVER_CCACHE ccache)
if(QUIVER_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${QUIVER_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${QUIVER_CCACHE})
endif()

# -ffp-contract=off: quantization must be bit-exact and a row's sums must not depend on how the
# compiler pairs them, so a multiply-add is fused only where the source says std::fma.
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  add_compile_options(-Wno-restrict)  # GCC bug 105651: false alarms in std::string concatenation
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False alarms where a reference is returned that has nothing to do with a temporary argument.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-dangling-reference>)
endif()
if(QUIVER_WERROR)
  add_compile_options(-Werror)
endif()
if(QUIVER_SANITIZE)
  add_compile_options(-fsanitize=${QUIVER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${QUIVER_SANITIZE})
endif()
add_compile_definitions($<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
include(GNUInstallDirs)

# Of files with kernels. Sanitizers' checks in fully unrolled loops take g++ a quarter of an hour a
# file at -O3.
set(QUIVER_KERNEL_LEVEL -O3)
if(QUIVER_SANITIZE)
  set(QUIVER_KERNEL_LEVEL -O1)
endif()
