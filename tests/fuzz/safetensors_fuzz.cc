// Any bytes as safetensors: every tensor that is read lies within the file, and none overlaps another.
#include "core/formats/safetensors/header.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace modelpress;
  const auto file = testing::FuzzEnvironment::Get().File(data, size);
  const auto contents = safetensors::Read(file);
  if (!contents.ok()) return 0;
  uint64_t end = 0;
  for (const NamedTensor& tensor : contents->tensors) {
    if (tensor.data.offset < end || tensor.data.offset > size ||
        tensor.data.length > size - tensor.data.offset)
      __builtin_trap();
    end = tensor.data.offset + tensor.data.length;
  }
  return 0;
}
