# Configures, builds and runs one consumer. See CMakeLists.txt for the variables.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "failed: ${result}")
  endif()
endfunction()

set(common -G "${generator}" "-DCMAKE_CXX_COMPILER=${compiler}" -DCMAKE_BUILD_TYPE=Debug)
set(fetched)
if(eigen STREQUAL "fetched")
  set(fetched -DSTROMA_FETCH_DEPENDENCIES=ON -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON
    "-DFETCHCONTENT_SOURCE_DIR_EIGEN3=${eigen_source}" -DFETCHCONTENT_FULLY_DISCONNECTED=ON)
endif()

file(REMOVE_RECURSE "${binary}")
get_filename_component(here "${CMAKE_CURRENT_LIST_FILE}" DIRECTORY)
if(way STREQUAL "find_package")
  run("${CMAKE_COMMAND}" -S "${stroma}" -B "${binary}/stroma" ${common} ${fetched} "-DCMAKE_PREFIX_PATH=${prefixes}"
    -DSTROMA_TESTS=OFF -DSTROMA_EXAMPLES=OFF -DSTROMA_XTENSOR=${xtensor})
  run("${CMAKE_COMMAND}" --install "${binary}/stroma" --prefix "${binary}/prefix")
  # Installed, stroma asks for an installed Eigen, whatever it was built with.
  set(arguments "-DCMAKE_PREFIX_PATH=${binary}/prefix;${prefixes}" "-Dstroma_PREFIX=${binary}/prefix" -DWITH_XTENSOR=${xtensor})
elseif(way STREQUAL "cuda")
  get_filename_component(toolkit "${nvcc}" DIRECTORY)
  get_filename_component(toolkit "${toolkit}" DIRECTORY)
  run("${CMAKE_COMMAND}" -S "${stroma}" -B "${binary}/stroma" ${common} "-DCMAKE_PREFIX_PATH=${prefixes}"
    -DSTROMA_TESTS=OFF -DSTROMA_EXAMPLES=OFF -DSTROMA_CUDA=ON "-DCUDAToolkit_ROOT=${toolkit}")
  run("${CMAKE_COMMAND}" --install "${binary}/stroma" --prefix "${binary}/prefix")
  set(arguments "-DCMAKE_PREFIX_PATH=${binary}/prefix;${prefixes}" "-DCMAKE_CUDA_COMPILER=${nvcc}"
    "-DCUDAToolkit_ROOT=${toolkit}" "-DCMAKE_CUDA_ARCHITECTURES=80;90")
elseif(way STREQUAL "add_subdirectory")
  set(arguments "-DCMAKE_PREFIX_PATH=${prefixes}" "-DSTROMA_SOURCE=${stroma}" ${fetched})
else()
  set(arguments "-DCMAKE_PREFIX_PATH=${prefixes}" "-DFETCHCONTENT_SOURCE_DIR_STROMA=${stroma}" ${fetched})
endif()
run("${CMAKE_COMMAND}" -S "${here}/${way}" -B "${binary}/consumer" ${common} ${arguments})
run("${CMAKE_COMMAND}" --build "${binary}/consumer")
run("${binary}/consumer/consumer")
