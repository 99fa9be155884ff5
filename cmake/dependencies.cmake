# Each dependency: a target that the project already has, else the installed package, else a pinned source.
# All but Google Benchmark are headers only, so their own build files (tests, install rules, options) are never run.
# FETCHCONTENT_SOURCE_DIR_<NAME> replaces any download by a folder.
include(FetchContent)

find_package(Threads REQUIRED)

function(stroma_refuse_fetching name)
  if(NOT STROMA_FETCH_DEPENDENCIES)
    message(FATAL_ERROR "stroma: ${name} is not installed; install it or set STROMA_FETCH_DEPENDENCIES=ON")
  endif()
endfunction()

# stroma_fetch_headers(<name> <target> <include folder> <FetchContent_Declare's arguments>...)
function(stroma_fetch_headers name target folder)
  stroma_refuse_fetching(${name})
  message(STATUS "stroma: ${name} is not installed, using its pinned source")
  FetchContent_Declare(${name} ${ARGN} SOURCE_SUBDIR no-build-file-wanted)
  FetchContent_MakeAvailable(${name})
  string(TOLOWER ${name} lower)
  add_library(${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${target} INTERFACE "${${lower}_SOURCE_DIR}/${folder}")
endfunction()

function(stroma_need_eigen)
  if(NOT TARGET Eigen3::Eigen)
    find_package(Eigen3 QUIET GLOBAL)  # no version here: Eigen 5's version file refuses a request for 3.4
  endif()
  if(TARGET Eigen3::Eigen)
    if(Eigen3_VERSION AND Eigen3_VERSION VERSION_LESS 3.4)
      message(FATAL_ERROR "stroma: Eigen ${Eigen3_VERSION} found, 3.4 or newer needed")
    endif()
    return()
  endif()
  stroma_fetch_headers(Eigen3 Eigen3::Eigen ""
    URL https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.gz
    URL_HASH SHA256=8586084f71f9bde545ee7fa6d00288b264a2b7ac3607b974e54d13e7162c1c72)
endfunction()

function(stroma_need_xtensor)
  if(NOT STROMA_XTENSOR OR TARGET xtensor)
    return()
  endif()
  find_package(xtensor 0.24 QUIET GLOBAL)
  if(TARGET xtensor OR STROMA_XTENSOR STREQUAL "AUTO")
    return()
  endif()
  stroma_fetch_headers(xtl xtl include
    URL https://github.com/xtensor-stack/xtl/archive/0.7.4.tar.gz
    URL_HASH SHA256=3c88be0e696b64150c4de7a70f9f09c00a335186b0b0b409771ef9f56bca7d9a)
  stroma_fetch_headers(xtensor xtensor include
    URL https://github.com/xtensor-stack/xtensor/archive/0.24.3.tar.gz
    URL_HASH SHA256=3acde856b9fb8cf4e2a7b66726da541275d40ab9b002e618ad985ab97f08ca4f)
  target_link_libraries(xtensor INTERFACE xtl)
endfunction()

# The toolkit is never fetched.
function(stroma_need_cuda)
  if(NOT STROMA_CUDA OR TARGET CUDA::cublas)
    return()
  endif()
  find_package(CUDAToolkit 12 QUIET)
  if(NOT TARGET CUDA::cublas)
    if(NOT STROMA_CUDA STREQUAL "AUTO")
      message(FATAL_ERROR "stroma: STROMA_CUDA=${STROMA_CUDA}, and no CUDA toolkit 12 or newer with cuBLAS was found")
    endif()
    return()
  endif()
  # CMake 3.25 makes them for one folder only.
  foreach(target IN ITEMS CUDA::cublas CUDA::cublasLt CUDA::cudart CUDA::cudart_static CUDA::toolkit)
    if(TARGET ${target})
      get_target_property(imported ${target} IMPORTED)
      if(imported)
        set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
      endif()
    endif()
  endforeach()
endfunction()

function(stroma_need_doctest)
  find_package(doctest 2.4.9 QUIET GLOBAL)
  if(NOT TARGET doctest::doctest)
    stroma_fetch_headers(doctest doctest::doctest ""
      GIT_REPOSITORY https://github.com/doctest/doctest.git
      GIT_TAG b7c21ec5ceeadb4951b00396fc1e4642dd347e5f)  # 2.4.9
  endif()
endfunction()

function(stroma_need_json)
  find_package(nlohmann_json 3.11 QUIET GLOBAL)
  if(NOT TARGET nlohmann_json::nlohmann_json AND STROMA_FETCH_DEPENDENCIES)
    stroma_fetch_headers(nlohmann_json nlohmann_json::nlohmann_json include
      URL https://github.com/nlohmann/json/releases/download/v3.11.2/json.tar.xz
      URL_HASH SHA256=8c4b26bf4b422252e13f332bc5e388ec0ab5c3443d24399acb675e68278d341f)
  endif()
endfunction()

function(stroma_need_cli11)
  find_package(CLI11 2.1 QUIET GLOBAL)
  if(NOT TARGET CLI11::CLI11)
    stroma_fetch_headers(CLI11 CLI11::CLI11 include
      URL https://github.com/CLIUtils/CLI11/archive/v2.1.2.tar.gz
      URL_HASH SHA256=26291377e892ba0e5b4972cdfd4a2ab3bf53af8dac1f4ea8fe0d1376b625c8cb)
  endif()
endfunction()

function(stroma_need_benchmark)
  find_package(benchmark 1.7 QUIET GLOBAL)
  if(NOT TARGET benchmark::benchmark)
    stroma_refuse_fetching(benchmark)
    set(BENCHMARK_ENABLE_TESTING OFF)
    set(BENCHMARK_ENABLE_INSTALL OFF)
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
    FetchContent_Declare(benchmark SYSTEM
      GIT_REPOSITORY https://github.com/google/benchmark.git
      GIT_TAG d572f4777349d43653b21d6c2fc63020ab326db2)  # 1.7.1
    FetchContent_MakeAvailable(benchmark)
  endif()
endfunction()
