// A PyTorch exported program as typed graphs: what reader.h makes of an archive and ops/ translate.
//
// The schema is that of torch/_export/serde/schema.py (major version 8). Unions of the schema are Arguments here. Every
// name that a graph reads is one that it has been given or has made, in order.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/weights/named_tensor.h"
#include "core/model/tensor_type.h"

namespace modelpress::pt2 {

// Numbers of torch's ScalarType in the schema.
enum class ScalarType : int {
  kUnknown = 0,
  kUint8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kFloat16 = 6,
  kFloat32 = 7,
  kFloat64 = 8,
  kComplex32 = 9,
  kComplex64 = 10,
  kComplex128 = 11,
  kBool = 12,
  kBfloat16 = 13,
  kUint16 = 28,
  kFloat8E4M3FN = 29,
  kFloat8E5M2 = 30,
};

bool IsComplex(ScalarType type);
// Types with the same elements; for complex ones that of their parts. kUndefined for types that ONNX does not have.
DataType ToOnnxType(ScalarType type);
std::string_view ScalarTypeName(ScalarType type);

// An extent, or another integer that may be computed: a number, or an expression of symbols in SymPy's notation
// ("Symbol('s0', positive=True, integer=True)").
struct Extent {
  std::optional<int64_t> value;
  std::string expression;

  bool operator==(const Extent&) const = default;
};

struct TensorMeta {
  ScalarType type = ScalarType::kUnknown;
  std::vector<Extent> sizes;
  // Empty where the file does not tell or where they are symbols; in elements.
  std::vector<int64_t> strides;
  int64_t storage_offset = 0;

  int rank() const { return static_cast<int>(sizes.size()); }
  bool is_static() const;
  // The extents; only of static shapes.
  std::vector<int64_t> dims() const;
};

// An integer argument: a number, or the name of a value of the graph.
struct SymInt {
  int64_t value = 0;
  std::string name;
};

struct Graph;

struct Argument {
  enum class Kind {
    kNone,
    kTensor,
    kTensors,  // "" among the names: None
    kInt,
    kInts,
    kFloat,
    kFloats,
    kBool,
    kBools,
    kText,
    kScalarType,
    kSymInt,  // by name: of the graph's integers
    kSymBool,
    kSymFloat,
    kGraph,
    kOther,  // devices, layouts, memory formats, objects: nothing that computes
  };
  Kind kind = Kind::kNone;
  std::string text;                // kTensor, kSym*: the name; kText
  std::vector<std::string> names;  // kTensors
  std::vector<SymInt> ints;        // kInt, kInts
  std::vector<double> floats;      // kFloat, kFloats
  std::vector<bool> bools;         // kBool, kBools
  ScalarType scalar_type = ScalarType::kUnknown;
  std::shared_ptr<const Graph> graph;  // kGraph
};

struct Node {
  std::string target;  // "torch.ops.aten.add.Tensor"
  std::vector<std::pair<std::string, Argument>> inputs;
  std::vector<Argument> outputs;

  // Names of all values that the node makes, lists unrolled; "" for what is None.
  std::vector<std::string> OutputNames() const;
};

struct Graph {
  std::vector<Argument> inputs;
  std::vector<Argument> outputs;
  std::vector<Node> nodes;
  std::map<std::string, TensorMeta, std::less<>> tensors;
  std::map<std::string, Extent, std::less<>> integers;
};

// What an input of the main graph is.
struct InputSpec {
  enum class Kind { kUser, kParameter, kBuffer, kConstant, kOther };
  Kind kind = Kind::kUser;
  Argument argument;
  std::string target;  // "layer1.weight"
  std::string what;    // kOther: its name in the schema
};

struct OutputSpec {
  enum class Kind { kUser, kBufferMutation, kInputMutation, kOther };
  Kind kind = Kind::kUser;
  Argument argument;
  std::string target;
};

struct Program {
  Graph graph;
  std::vector<InputSpec> inputs;
  std::vector<OutputSpec> outputs;
  std::string torch_version;
  // Parameters, buffers and constants by their names in the module.
  std::map<std::string, NamedTensor, std::less<>> weights;
};

// "torch.ops.aten.add.Tensor" -> "aten.add.Tensor"; other targets as they are.
std::string_view ShortTarget(std::string_view target);

}  // namespace modelpress::pt2
