// A pickle that is read and not run: a machine with no calls but those that rebuild tensors.
//
// Python's pickles are programs (https://docs.python.org/3/library/pickletools.html lists the opcodes); torch.save writes
// them with protocol 2, on request with 3 to 5. Here the stack machine is followed, GLOBALs are looked up in a short list
// of names, and anything else is refused by its name. Nothing is executed, and what a pickle can ask for is bounded:
// opcodes, stack, memo and bytes; values are shared, not copied, so that a bomb of references stays as small as its file.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/tensor_type.h"

namespace modelpress::pytorch {

// A tensor as the pickle describes it; extents, strides and offset in elements of the storage.
struct PickledTensor {
  std::string_view storage;  // its key: entry "data/<key>" of the archive
  DataType type = DataType::kUndefined;
  std::string_view location;  // "cpu", "cuda:0"
  int64_t storage_elements = 0;
  int64_t offset = 0;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
};

// What a pickle builds. Values refer to each other by number; texts refer to the pickle's bytes.
struct PickleValue {
  enum class Kind {
    kNone,
    kBool,
    kInt,
    kFloat,
    kText,
    kTuple,
    kList,
    kDict,
    kGlobal,
    kStorage,
    kTensor,
    kOther
  };
  Kind kind = Kind::kNone;
  int64_t number = 0;      // kBool, kInt
  double real = 0;         // kFloat
  std::string_view text;   // kText; kGlobal: "module name"
  std::vector<int> items;  // kTuple, kList; kDict: key, value, key, value, ...
  int tensor = -1;         // kTensor, kStorage: index into Pickle::tensors
};

struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickledTensor> tensors;
  int root = -1;

  const PickleValue& operator[](int index) const { return values[index]; }
};

// OP_UNSUPPORTED names the call that is refused; MODEL_MALFORMED for pickles that are no valid program; MODEL_LIMIT for
// those that are too large. The bytes outlive the result.
absl::StatusOr<Pickle> ReadPickle(std::span<const std::byte> bytes);

}  // namespace modelpress::pytorch
