# How the project's targets are made: one small library per folder, one test program per test folder.

# Flags of everything we compile ourselves. -ffp-contract=off: the same bytes on every machine (g++ would otherwise fuse
# intrinsics into FMA). Designated initializers leave defaults out on purpose.
add_library(modelpress_flags INTERFACE)
target_compile_options(modelpress_flags INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers
                                                   -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Below -O3, g++ 14 sees writes beyond the end in std::string's own inlined code (GCC bugs 105329, 105651).
  target_compile_options(modelpress_flags INTERFACE -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict)
endif()
target_include_directories(modelpress_flags INTERFACE ${CMAKE_SOURCE_DIR})

# Libraries are not instrumented: uninstrumented.h says what that takes. libstdc++ and protobuf headers pass null where
# UBSan's `null` group objects. -O1 -g1: a quarter less to compile.
if(MODELPRESS_SANITIZE STREQUAL "asan")
  add_compile_options(-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-sanitize=null,nonnull-attribute,returns-nonnull-attribute
                      -Wno-maybe-uninitialized  # false in std::regex when instrumented (GCC bug 105562)
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  # Before every other header: in the precompiled ones, which are only taken when nothing stands before them, or by
  # modelpress_uninstrumented where there are none.
  set(uninstrumented ${CMAKE_SOURCE_DIR}/cmake/uninstrumented.h)
elseif(MODELPRESS_SANITIZE STREQUAL "tsan")
  add_compile_options(-O1 -g1 -fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(MODELPRESS_SANITIZE STREQUAL "fuzz")
  add_compile_options(-fsanitize=fuzzer-no-link,address -include ${CMAKE_SOURCE_DIR}/cmake/uninstrumented.h
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address)
endif()

# What nearly every file includes, compiled once: halves the time of a build from nothing. Files still include what they
# use; the fuzz preset, which has no precompiled headers, holds them to it. libonnx's definitions change nothing for those
# who do not link it, and a precompiled header is only taken where all definitions are the same.
add_compile_definitions(ONNX_ML=1 ONNX_NAMESPACE=onnx)
# A precompiled header's own bytes differ from checkout to checkout, and with them everything that ccache knows of its
# readers. So ccache is given a digest of what it is made from instead (CCACHE_PCH_EXTSUM in ./dev): compiler, flags, list
# of headers, and the versions of the packages that those come from (and no others: an image has fewer of them).
execute_process(COMMAND sh -c "dpkg-query --show $(sh '${CMAKE_SOURCE_DIR}/cmake/packages.sh' build) 'libstdc++-*-dev' libc6-dev"
                OUTPUT_VARIABLE packages ERROR_QUIET RESULT_VARIABLE no_packages)
if(no_packages)
  string(TIMESTAMP packages)  # not known: nothing is shared
endif()
# Only where training is built, and only its headers come from there.
execute_process(COMMAND dpkg-query --show libtorch-dev OUTPUT_VARIABLE torch_package ERROR_QUIET)
file(SHA256 ${CMAKE_CURRENT_LIST_FILE} rules)
# modelpress_precompiled_digest(TARGET HEADER...): of a target of the current folder with precompiled headers of its own.
function(modelpress_precompiled_digest name)
  set(from "${packages}")
  if(ARGN MATCHES "<ATen/")
    string(APPEND from "${torch_package}")
  endif()
  string(SHA256 digest "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE} ${CMAKE_CXX_FLAGS} \
${MODELPRESS_SANITIZE} ${name} ${ARGN} ${rules} ${from}")
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${name}.dir/cmake_pch.hxx.gch.sum ${digest})
endfunction()
function(modelpress_precompiled_headers name)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}.cc CONTENT "// Only there for the precompiled header.\n")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE modelpress_proto modelpress_flags absl::flat_hash_map absl::flat_hash_set
                                        absl::statusor absl::strings)
  target_precompile_headers(${name} PRIVATE ${uninstrumented}
    <algorithm> <atomic> <chrono> <cmath> <cstdint> <filesystem> <format> <functional> <map> <memory> <mutex> <optional>
    <set> <span> <string> <string_view> <utility> <vector> <absl/container/flat_hash_map.h>
    <absl/container/flat_hash_set.h> <absl/status/statusor.h> <absl/strings/str_cat.h> <onnx/onnx_pb.h> ${ARGN})
  modelpress_precompiled_digest(${name} ${ARGN})
endfunction()
if(NOT MODELPRESS_SANITIZE STREQUAL "fuzz")
  set(MODELPRESS_PRECOMPILE ON)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)  # ccache asks for it
  endif()
  modelpress_precompiled_headers(modelpress_headers)
  modelpress_precompiled_headers(modelpress_test_headers <gmock/gmock.h> <gtest/gtest.h>)
  target_link_libraries(modelpress_test_headers PRIVATE GTest::gmock GTest::gtest)
  target_compile_options(modelpress_test_headers PRIVATE -O1)
endif()

# modelpress_uninstrumented(TARGET): for targets without precompiled headers.
function(modelpress_uninstrumented target)
  if(uninstrumented)
    target_compile_options(${target} PRIVATE -include ${uninstrumented})
  endif()
endfunction()

# modelpress_compile(TARGET): how the project's own libraries and programs are compiled.
function(modelpress_compile target)
  target_link_libraries(${target} PRIVATE modelpress_flags)
  if(MODELPRESS_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM modelpress_headers)
  endif()
endfunction()

# modelpress_library(NAME DEPS ...): library modelpress_NAME from every *.cc of the current folder.
function(modelpress_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;EXTRA_SOURCES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  list(APPEND sources ${ARG_EXTRA_SOURCES})
  if(NOT sources)
    add_library(modelpress_${name} INTERFACE)
    target_link_libraries(modelpress_${name} INTERFACE ${ARG_DEPS})
    return()
  endif()
  add_library(modelpress_${name} STATIC ${sources})
  target_link_libraries(modelpress_${name} PUBLIC ${ARG_DEPS})
  modelpress_compile(modelpress_${name})
endfunction()

# modelpress_tests(NAME DEPS ... [LABELS ...]): test program NAME from every *_test.cc of the current folder, run by
# ctest as NAME. Tests find their fixtures by TestDataPath. With the label tsan it is also built
# and run under the thread sanitizer.
add_custom_target(tsan_tests)
function(modelpress_tests name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "DEPS;LABELS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} modelpress_test_support GTest::gmock GTest::gtest GTest::gtest_main
                                        modelpress_flags)
  target_compile_options(${name} PRIVATE -O1)  # tests wait for the compiler longer than for themselves
  if(MODELPRESS_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM modelpress_test_headers)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
  if(MODELPRESS_SANITIZE STREQUAL "tsan")
    set_tests_properties(${name} PROPERTIES ENVIRONMENT
      "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/cmake/tsan_suppressions.txt")
  endif()
  if("tsan" IN_LIST ARG_LABELS)
    add_dependencies(tsan_tests ${name})
  endif()
endfunction()

# modelpress_registry(OUT_VAR FUNCTION_PREFIX TYPE HEADER NAME...): writes a source file that calls
# FUNCTION_PREFIX<name>(TYPE&) for every name, so that adding a file is the only edit that adds a thing (a static
# registrar object in a static library would be dropped by the linker).
# NAMESPACE: where the functions are declared (modelpress).
function(modelpress_registry out_var prefix type header)
  cmake_parse_arguments(ARG "" "NAMESPACE" "" ${ARGN})
  if(NOT ARG_NAMESPACE)
    set(ARG_NAMESPACE modelpress)
  endif()
  set(declarations "")
  set(calls "")
  foreach(name IN LISTS ARG_UNPARSED_ARGUMENTS)
    string(APPEND declarations "void ${prefix}${name}(${type}& registry);\n")
    string(APPEND calls "  ${prefix}${name}(registry);\n")
  endforeach()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/${prefix}all.cc)
  file(CONFIGURE OUTPUT ${file} @ONLY CONTENT
"// Generated by CMake from the files of the folder.
#include \"${header}\"

namespace ${ARG_NAMESPACE} {
${declarations}
void ${prefix}All([[maybe_unused]] ${type}& registry) {
${calls}}
}  // namespace ${ARG_NAMESPACE}
")
  set(${out_var} ${file} PARENT_SCOPE)
endfunction()
