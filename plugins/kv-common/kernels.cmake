# Builds page loops once for each instruction set.
include_guard(GLOBAL)

# quiver_kv_kernels(PLUGIN SOURCE [ISA..])
#
# Adds SOURCE to the plugin several times: for any machine, for avx2, for avx512 and for those named
# besides, with QUIVER_KV_TABLE defined as the name of the table that it is to export (ISA_kernels).
# Nothing in SOURCE may define a symbol that another file could share (.ci/check-kernels looks): the
# linker might keep the copy with wide instructions for all.
function(quiver_kv_kernels plugin source)
  target_include_directories(${plugin} PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/..)
  set(avx2 -mavx2 -mfma -mf16c)
  # GCC's own avx512 header reads what it calls undefined (GCC bug 105593).
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -Wno-uninitialized -Wno-maybe-uninitialized)
  set(avx512vnni ${avx512} -mavx512vnni)
  set(isas generic)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
    list(APPEND isas avx2 avx512 ${ARGN})
  endif()
  foreach(isa IN LISTS isas)
    set(kernels ${plugin}-kernels-${isa})
    add_library(${kernels} OBJECT ${source})
    target_compile_features(${kernels} PRIVATE cxx_std_20)
    # No product and sum are fused where the source does not say so.
    target_compile_options(${kernels} PRIVATE ${QUIVER_KERNEL_LEVEL} -ffp-contract=off ${${isa}})
    target_compile_definitions(${kernels} PRIVATE QUIVER_KV_TABLE=${isa}_kernels)
    target_include_directories(${kernels} PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/..)
    target_link_libraries(${kernels} PRIVATE quiver::sdk)
    set_target_properties(${kernels} PROPERTIES
      POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
    target_sources(${plugin} PRIVATE $<TARGET_OBJECTS:${kernels}>)
  endforeach()
endfunction()
