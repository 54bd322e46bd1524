# What every target shares: language, warnings, sanitizers, where things go, and the functions that keep the layers.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON) # gnu11
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Debug)
endif()

# asan: AddressSanitizer and UBSan; tsan: ThreadSanitizer; fuzz: libFuzzer (clang) with ASan and UBSan.
set(ANANTA_SANITIZE "" CACHE STRING "asan, tsan, fuzz or nothing")

add_compile_options(-Wall -Wextra -Wshadow -Wswitch-enum -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wpointer-arith
                    -Wno-unused-parameter -Werror=implicit-function-declaration -march=x86-64-v3 -fno-strict-aliasing
                    -fno-omit-frame-pointer)
add_compile_definitions(_GNU_SOURCE ANANTA_VERSION="${PROJECT_VERSION}")
include_directories(${CMAKE_SOURCE_DIR})

if(ANANTA_SANITIZE STREQUAL "asan")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-sanitize=alignment)
  add_link_options(-fsanitize=address,undefined)
elseif(ANANTA_SANITIZE STREQUAL "tsan")
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
elseif(ANANTA_SANITIZE STREQUAL "fuzz")
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-sanitize=alignment)
  add_link_options(-fsanitize=address,undefined)
endif()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(MNL REQUIRED IMPORTED_TARGET libmnl)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(RAFT REQUIRED IMPORTED_TARGET raft>=0.22)
pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)
pkg_check_modules(DPDK REQUIRED libdpdk>=22.11)

# libdpdk's flags end in -march=corei7, which would undo ours; the rest is needed.
set(dpdk_cflags ${DPDK_CFLAGS})
list(FILTER dpdk_cflags EXCLUDE REGEX "^-march=")
add_library(dpdk INTERFACE)
target_compile_options(dpdk INTERFACE ${dpdk_cflags} -Wno-pedantic)
target_include_directories(dpdk SYSTEM INTERFACE ${DPDK_INCLUDE_DIRS})
target_link_libraries(dpdk INTERFACE ${DPDK_LDFLAGS})

# A library of the pure layers: C and other pure libraries only. .ci/check-layers holds the includes to the same rule.
function(ananta_pure_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  foreach(dependency IN LISTS arg_DEPENDS)
    get_target_property(is_pure ${dependency} ANANTA_PURE)
    if(NOT is_pure)
      message(FATAL_ERROR "${name} is pure and must not depend on ${dependency}")
    endif()
  endforeach()
  add_library(${name} STATIC ${arg_SOURCES})
  target_compile_options(${name} PRIVATE -Wconversion -Wno-sign-conversion)
  set_target_properties(${name} PROPERTIES ANANTA_PURE TRUE)
  target_link_libraries(${name} PUBLIC ${arg_DEPENDS})
endfunction()

# A library of the edges: may use what it names.
function(ananta_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_DEPENDS})
endfunction()

function(ananta_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_DEPENDS})
endfunction()

# A libcheck program; `tests/run unit` runs every bin/test-*.
function(ananta_test name)
  if(ANANTA_SANITIZE STREQUAL "fuzz")
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(test-${name} ${arg_SOURCES})
  target_link_libraries(test-${name} PRIVATE ${arg_DEPENDS} PkgConfig::CHECK)
  add_test(NAME ${name} COMMAND test-${name})
endfunction()

# A libFuzzer target, built in the fuzz preset only; its corpus is tests/fuzz/corpus/<name>.
function(ananta_fuzz_target name)
  if(NOT ANANTA_SANITIZE STREQUAL "fuzz")
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(fuzz-${name} ${arg_SOURCES})
  target_link_libraries(fuzz-${name} PRIVATE ${arg_DEPENDS})
  target_link_options(fuzz-${name} PRIVATE -fsanitize=fuzzer)
endfunction()
