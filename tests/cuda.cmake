# What nvcc compiles: every .cuh alone, and the tests of tests/cuda for a real device (the same files that the host's
# compiler builds with the emulator). Without a device these report themselves as skipped.
if(NOT CMAKE_CUDA_COMPILER)
  find_program(stroma_nvcc nvcc HINTS /usr/local/cuda/bin REQUIRED)
  set(CMAKE_CUDA_COMPILER "${stroma_nvcc}")  # check_language would cost seconds
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90)  # before enable_language: the default is older than some compilers accept
endif()
enable_language(CUDA)

# CMake 3.25.1 does not know nvcc's C++20, neither as a feature nor as a standard; without extensions it adds C++17.
add_library(stroma_nvcc_developer INTERFACE)
target_compile_options(stroma_nvcc_developer INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20 -Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow -diag-suppress=1675>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${STROMA_WERROR}>>:-Werror=all-warnings -Xcompiler=-Werror>)

file(GLOB_RECURSE headers RELATIVE "${PROJECT_SOURCE_DIR}/include" CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/include/stroma/*.cuh")
set(sources)
foreach(header IN LISTS headers)
  string(REGEX REPLACE "\\.cuh$" ".cu" source "cuda_alone/${header}")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <${header}>\n")
  list(APPEND sources "${CMAKE_CURRENT_BINARY_DIR}/${source}")
endforeach()
# An adapter's header alone instantiates nothing, and the emulator cannot stand beside Thrust.
file(CONFIGURE OUTPUT cuda_alone/adapters.cu CONTENT "#include \"${CMAKE_CURRENT_SOURCE_DIR}/cuda/adapt/thrust.test.cpp\"\n")
list(APPEND sources "${CMAKE_CURRENT_BINARY_DIR}/cuda_alone/adapters.cu")
add_library(stroma_cuda_headers OBJECT EXCLUDE_FROM_ALL ${sources})
target_include_directories(stroma_cuda_headers PRIVATE "${PROJECT_SOURCE_DIR}/include" "${CMAKE_CURRENT_SOURCE_DIR}")
target_link_libraries(stroma_cuda_headers PRIVATE stroma_nvcc_developer doctest::doctest)
set_target_properties(stroma_cuda_headers PROPERTIES CUDA_EXTENSIONS ON CUDA_ARCHITECTURES "80;90")

# A source has one language in a folder: nvcc gets files that include the tests.
file(GLOB_RECURSE device_tests RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}" CONFIGURE_DEPENDS cuda/*.test.cpp)
set(sources)
foreach(test IN LISTS device_tests)
  string(REGEX REPLACE "\\.test\\.cpp$" ".cu" source "device/${test}")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include \"${CMAKE_CURRENT_SOURCE_DIR}/${test}\"\n")
  list(APPEND sources "${CMAKE_CURRENT_BINARY_DIR}/${source}")
endforeach()
add_executable(stroma_device_tests support/device_main.cu ${sources})
target_include_directories(stroma_device_tests PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
target_link_libraries(stroma_device_tests PRIVATE stroma_nvcc_developer stroma::cuda doctest::doctest)
# A test compares both sides in one file.
target_compile_definitions(stroma_device_tests PRIVATE STROMA_HOST_KERNELS_IN_CUDA EIGEN_NO_CUDA)
set_target_properties(stroma_device_tests PROPERTIES CUDA_EXTENSIONS ON CUDA_ARCHITECTURES "80;90")
stroma_discover_tests(stroma_device_tests device)

add_executable(stroma_device_bench EXCLUDE_FROM_ALL "${PROJECT_SOURCE_DIR}/benchmarks/cuda/device_bench.cu")
target_link_libraries(stroma_device_bench PRIVATE stroma_nvcc_developer stroma::cuda)
target_compile_definitions(stroma_device_bench PRIVATE STROMA_HOST_KERNELS_IN_CUDA EIGEN_NO_CUDA)
set_target_properties(stroma_device_bench PROPERTIES CUDA_EXTENSIONS ON)
