# For our own programs only: warnings, and the functions that turn folders into programs.

set(CMAKE_CXX_EXTENSIONS OFF)
add_library(stroma_developer INTERFACE)
target_compile_options(stroma_developer INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wconversion;-Wshadow;-Wpedantic>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STROMA_WERROR}>>:-Werror>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${STROMA_NATIVE}>>:-march=native>)

# stroma_discover_tests(<program> <folder>): each of its test cases is an entry of ctest, named <folder>/<case>
function(stroma_discover_tests target folder)
  set(list "${CMAKE_CURRENT_BINARY_DIR}/${target}_cases.cmake")
  add_custom_command(TARGET ${target} POST_BUILD BYPRODUCTS "${list}" VERBATIM
    COMMAND "${CMAKE_COMMAND}" "-Dprogram=$<TARGET_FILE:${target}>" "-Dprefix=${folder}/"
      "-Denvironment=${stroma_test_environment}" "-Doutput=${list}" -P "${PROJECT_SOURCE_DIR}/cmake/discover_tests.cmake")
  file(CONFIGURE OUTPUT ${target}_include.cmake @ONLY CONTENT [[
if(EXISTS "@list@")
  include("@list@")
else()
  add_test("@folder@/NOT_BUILT" "@target@_NOT_BUILT")
endif()
]])
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${CMAKE_CURRENT_BINARY_DIR}/${target}_include.cmake")
endfunction()

# tests/<folder>/**/*.test.cpp -> one program; each test case is an entry of ctest, named <folder>/<case>
function(stroma_add_test_folder folder)
  set(target stroma_tests_${folder})
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE stroma_test_main stroma_developer stroma::stroma)
  if(TARGET stroma_xtensor)
    target_link_libraries(${target} PRIVATE stroma::xtensor)
    target_compile_definitions(${target} PRIVATE STROMA_TEST_XTENSOR)
  endif()
  if(TARGET nlohmann_json::nlohmann_json)
    target_link_libraries(${target} PRIVATE nlohmann_json::nlohmann_json)
    target_compile_definitions(${target} PRIVATE STROMA_TEST_JSON)
  endif()

  stroma_discover_tests(${target} ${folder})
endfunction()

# examples/<name>/: its own CMakeLists.txt if it has one, else one program of all its sources that ctest runs
function(stroma_add_examples)
  file(GLOB folders LIST_DIRECTORIES true CONFIGURE_DEPENDS examples/*)
  foreach(folder IN LISTS folders)
    get_filename_component(name "${folder}" NAME)
    if(EXISTS "${folder}/CMakeLists.txt")
      # Not in examples/<name>, for that is the program.
      add_subdirectory("${folder}" "${PROJECT_BINARY_DIR}/examples.build/${name}")
      continue()
    endif()
    file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.cpp")
    if(sources)
      add_executable(stroma_example_${name} ${sources})
      target_link_libraries(stroma_example_${name} PRIVATE stroma::stroma stroma_developer CLI11::CLI11)
      set_target_properties(stroma_example_${name} PROPERTIES
        OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")
      if(STROMA_TESTS)
        add_test(NAME example.${name} COMMAND stroma_example_${name})
        set_tests_properties(example.${name} PROPERTIES LABELS example)
      endif()
    endif()
  endforeach()
endfunction()

# benchmarks/<folder>/*.bench.cpp -> one program for each folder
function(stroma_add_benchmarks)
  file(GLOB_RECURSE all RELATIVE "${PROJECT_SOURCE_DIR}/benchmarks" CONFIGURE_DEPENDS benchmarks/*.bench.cpp)
  foreach(file IN LISTS all)
    string(REGEX REPLACE "/.*" "" folder "${file}")
    set(target stroma_bench_${folder})
    if(NOT TARGET ${target})
      add_executable(${target})
      target_link_libraries(${target} PRIVATE
        stroma::stroma stroma_developer benchmark::benchmark benchmark::benchmark_main)
      set_target_properties(${target} PROPERTIES
        OUTPUT_NAME bench_${folder} RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/benchmarks")
      if(TARGET stroma_xtensor)
        target_link_libraries(${target} PRIVATE stroma::xtensor)
      endif()
    endif()
    target_sources(${target} PRIVATE "${PROJECT_SOURCE_DIR}/benchmarks/${file}")
  endforeach()
endfunction()
