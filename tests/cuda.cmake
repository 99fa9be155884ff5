# Every header that needs nvcc compiles alone. Nothing is run: most machines that build this have no GPU.
if(NOT CMAKE_CUDA_COMPILER)
  find_program(stroma_nvcc nvcc HINTS /usr/local/cuda/bin REQUIRED)
  set(CMAKE_CUDA_COMPILER "${stroma_nvcc}")  # check_language would cost seconds
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)  # before enable_language: the default is older than some compilers accept
endif()
enable_language(CUDA)

file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}/include" CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/include/stroma/*.cuh")
set(sources)
foreach(header IN LISTS headers)
  string(REGEX REPLACE "\\.cuh$" ".cu" source "cuda_alone/${header}")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <${header}>\n")
  list(APPEND sources "${CMAKE_CURRENT_BINARY_DIR}/${source}")
endforeach()
if(sources)
  add_library(stroma_cuda_headers OBJECT ${sources})
  target_include_directories(stroma_cuda_headers PRIVATE "${PROJECT_SOURCE_DIR}/include")
  # CMake 3.25.1 does not know nvcc's C++20, neither as a feature nor as a standard; without extensions it adds C++17.
  set_target_properties(stroma_cuda_headers PROPERTIES CUDA_EXTENSIONS ON)
  target_compile_options(stroma_cuda_headers PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20>)
endif()
