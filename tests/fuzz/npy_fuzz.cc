// Any bytes as an .npy array: read or refused; what was read survives writing.
#include <cstdio>
#include <cstdlib>

#include "core/data/samples.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace modelpress;
  const auto tensor = ReadNpy(std::as_bytes(std::span(data, size)), nullptr);
  if (!tensor.ok() || tensor->type == DataType::kString) return 0;
  const std::string written = WriteNpy(*tensor);
  const auto again = ReadNpy(std::as_bytes(std::span(written)), nullptr);
  if (!again.ok() || again->dims != tensor->dims || again->type != tensor->type) {
    std::fprintf(stderr, "violated: a written array reads back equal\n");
    std::abort();
  }
  return 0;
}
