# Everything that is not ours, by name; docs/dependencies.md says why each is here.
find_package(Boost 1.81 REQUIRED COMPONENTS program_options)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt 9 REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libffi REQUIRED IMPORTED_TARGET libffi)
# The image libraries, where they are wanted: quiver_find_image_libraries(REQUIRED), or (QUIET) to take
# them where they are here. By the time of the call plugins have said whether they need them.
macro(quiver_find_image_libraries)
  pkg_check_modules(libjpeg ${ARGN} IMPORTED_TARGET GLOBAL libjpeg)
  pkg_check_modules(libpng ${ARGN} IMPORTED_TARGET GLOBAL libpng)
  pkg_check_modules(libwebp ${ARGN} IMPORTED_TARGET GLOBAL libwebp libwebpdemux)
endmacro()
if(QUIVER_TESTS)
  find_package(GTest REQUIRED)
endif()
if(QUIVER_BENCH)
  find_package(benchmark REQUIRED)
  # The kernels are measured beside it; the OpenMP build shares its threads with ours.
  find_library(QUIVER_OPENBLAS NAMES openblas PATH_SUFFIXES openblas-openmp REQUIRED)
  find_path(QUIVER_OPENBLAS_INCLUDE NAMES cblas.h PATH_SUFFIXES openblas-openmp openblas REQUIRED)
endif()
