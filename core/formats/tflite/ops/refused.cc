// Operators that are known and refused: what stands in the way, and what to do about it.
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Random(OperatorContext& c) {
  return c.Unsupported("it draws random numbers, whose sequence no other runtime gives",
                       "draw them outside of the model and make them an input");
}

absl::Status Table(OperatorContext& c) {
  return c.Unsupported("it keeps a table of keys, which ONNX models do not have",
                       "look the keys up outside of the model and make the values an input");
}

absl::Status Text(OperatorContext& c) {
  return c.Unsupported("it works on text", "keep text processing outside of the model");
}

absl::Status Sparse(OperatorContext& c) {
  return c.Unsupported("it takes a sparse list of rows", "use a dense EMBEDDING_LOOKUP and a sum");
}

absl::Status Hashes(OperatorContext& c) {
  return c.Unsupported("its hashes are computed by a function of LiteRT's own",
                       "compute them outside of the model and make them an input");
}

absl::Status Foreign(OperatorContext& c) {
  return c.Unsupported("it stands for code outside of the model",
                       "export the model without delegates and custom calls");
}

}  // namespace

void RegisterTfliteOperators_refused(OperatorRegistry& registry) {
  for (const BuiltinOperator code :
       {BuiltinOperator::RANDOM_STANDARD_NORMAL, BuiltinOperator::RANDOM_UNIFORM,
        BuiltinOperator::MULTINOMIAL, BuiltinOperator::STABLEHLO_RNG_BIT_GENERATOR}) {
    registry.AddRefused(code, Random);
  }
  for (const BuiltinOperator code :
       {BuiltinOperator::HASHTABLE, BuiltinOperator::HASHTABLE_FIND,
        BuiltinOperator::HASHTABLE_IMPORT, BuiltinOperator::HASHTABLE_SIZE,
        BuiltinOperator::HASHTABLE_LOOKUP}) {
    registry.AddRefused(code, Table);
  }
  registry.AddRefused(BuiltinOperator::SKIP_GRAM, Text);
  registry.AddRefused(BuiltinOperator::EMBEDDING_LOOKUP_SPARSE, Sparse);
  registry.AddRefused(BuiltinOperator::CONCAT_EMBEDDINGS, Sparse);
  registry.AddRefused(BuiltinOperator::LSH_PROJECTION, Hashes);
  registry.AddRefused(BuiltinOperator::DELEGATE, Foreign);
  registry.AddRefused(BuiltinOperator::STABLEHLO_CUSTOM_CALL, Foreign);
}

}  // namespace modelpress::tflite
