target_sources(quiver_core PRIVATE
  tensor/atomic_file.cpp
  tensor/file_error.cpp
  tensor/half.cpp
  tensor/mapped_file.cpp
  tensor/printable.cpp
  tensor/safetensors.cpp
  tensor/safetensors_header.cpp
  tensor/safetensors_index.cpp
  tensor/safetensors_set.cpp
  tensor/safetensors_writer.cpp
  tensor/tensor_view.cpp)
