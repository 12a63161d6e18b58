# The kernels: every table of the processor that is built for.
#
# Flags of each instruction set, in one place. Nothing built with them shares inline functions with
# other files; .ci/check-kernels looks.
set(QUIVER_KERNELS_DIR ${CMAKE_CURRENT_LIST_DIR})

function(quiver_add_kernels target)
  set(wide)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
    set(wide avx2/code_conv avx2/delta avx2/elements avx2/float avx2/image avx2/packed
      avx2vnni/code_conv avx2vnni/packed
      avx512/code_conv avx512/delta avx512/elements avx512/float avx512/image avx512/packed
      avx512vnni/code_conv avx512vnni/packed)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(wide neon/delta neon/float neon/packed neondot/packed)
  endif()
  # Sanitizers' checks in fully unrolled loops take g++ a quarter of an hour a file at -O3.
  set(level -O3)
  if(QUIVER_SANITIZE)
    set(level -O1)
  endif()
  set(avx2_flags ${level} -mavx2 -mfma -mf16c)
  set(avx2vnni_flags ${avx2_flags} -mavxvnni)
  # GCC's own avx512 header reads what it calls undefined (GCC bug 105593).
  set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
    -Wno-uninitialized -Wno-maybe-uninitialized)
  set(avx512vnni_flags ${avx512_flags} -mavx512vnni)
  set(neon_flags ${level})
  set(neondot_flags ${level} -march=armv8.2-a+dotprod)
  set(generic_flags ${level})  # The measure of the others need not be slow.
  # g++'s load motion gives each sum of a tile two homes in memory: a tenth slower.
  set(keep_sums $<$<CXX_COMPILER_ID:GNU>:-fno-gcse>)
  foreach(file ${wide} generic/code_conv generic/delta generic/elements generic/float generic/image generic/packed)
    get_filename_component(isa ${file} DIRECTORY)
    set(source ${QUIVER_KERNELS_DIR}/${file}.cpp)
    target_sources(${target} PRIVATE ${source})
    if(NOT file STREQUAL generic/float)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${${isa}_flags}")
    endif()
    if(file STREQUAL avx2/packed)
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS ${keep_sums})
    endif()
  endforeach()
  target_sources(${target} PRIVATE
    ${QUIVER_KERNELS_DIR}/kernel_table.cpp ${QUIVER_KERNELS_DIR}/packed_weights.cpp)
endfunction()
