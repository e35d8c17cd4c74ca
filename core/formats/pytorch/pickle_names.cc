// Names in pickles of weights: see pickle_names.h.
#include "core/formats/pytorch/pickle_names.h"

#include <span>
#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::pytorch {
namespace {

struct TypeName {
  std::string_view name;
  DataType type;
};

// Classes of typed storages, and dtypes; "torch" is their module.
constexpr TypeName kStorages[] = {
    {"DoubleStorage", DataType::kDouble},
    {"FloatStorage", DataType::kFloat},
    {"HalfStorage", DataType::kFloat16},
    {"BFloat16Storage", DataType::kBfloat16},
    {"LongStorage", DataType::kInt64},
    {"IntStorage", DataType::kInt32},
    {"ShortStorage", DataType::kInt16},
    {"CharStorage", DataType::kInt8},
    {"ByteStorage", DataType::kUint8},
    {"BoolStorage", DataType::kBool},
    {"ComplexFloatStorage", DataType::kComplex64},
    {"ComplexDoubleStorage", DataType::kComplex128},
};
constexpr TypeName kDtypes[] = {
    {"float64", DataType::kDouble},
    {"float32", DataType::kFloat},
    {"float16", DataType::kFloat16},
    {"bfloat16", DataType::kBfloat16},
    {"int64", DataType::kInt64},
    {"int32", DataType::kInt32},
    {"int16", DataType::kInt16},
    {"int8", DataType::kInt8},
    {"uint8", DataType::kUint8},
    {"bool", DataType::kBool},
    {"uint16", DataType::kUint16},
    {"uint32", DataType::kUint32},
    {"uint64", DataType::kUint64},
    {"float8_e4m3fn", DataType::kFloat8E4M3FN},
    {"float8_e5m2", DataType::kFloat8E5M2},
    {"float8_e4m3fnuz", DataType::kFloat8E4M3FNUZ},
    {"float8_e5m2fnuz", DataType::kFloat8E5M2FNUZ},
    {"complex64", DataType::kComplex64},
    {"complex128", DataType::kComplex128},
};

// Everything a pickle may name. Classes are data here: none of them is ever made.
constexpr std::string_view kAllowed[] = {
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state",
    "torch._tensor _rebuild_from_type_v2",
    "torch.nn.parameter Parameter",
    "torch Tensor",
    "torch Size",
    "torch device",
    "torch.serialization _get_layout",
    "torch.storage UntypedStorage",
    "torch UntypedStorage",
    "collections OrderedDict",
};

}  // namespace

std::string_view KnownGlobal(std::string_view global) {
  for (const std::string_view name : kAllowed) {
    if (global == name) return name;
  }
  constexpr std::string_view kModule = "torch ";
  if (!global.starts_with(kModule)) return "";
  global.remove_prefix(kModule.size());
  for (const std::span<const TypeName> names :
       {std::span<const TypeName>(kStorages), std::span<const TypeName>(kDtypes)}) {
    for (const TypeName& known : names) {
      if (known.name == global) return known.name;
    }
  }
  return "";
}

DataType StorageType(std::string_view name) {
  for (const TypeName& known : kStorages) {
    if (known.name == name) return known.type;
  }
  return DataType::kUint8;
}

std::optional<DataType> DtypeNamed(std::string_view name) {
  for (const TypeName& known : kDtypes) {
    if (known.name == name) return known.type;
  }
  return std::nullopt;
}

absl::Status MalformedPickle(std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED, FormatString("the pickle is not valid: {}", what));
}

absl::Status RefusedGlobal(std::string_view global) {
  std::string name(global);
  if (const size_t space = name.find(' '); space != std::string::npos) name[space] = '.';
  return Error(ERROR_REASON_OP_UNSUPPORTED,
               FormatString("the pickle calls {}, which rebuilds no tensor; nothing was executed",
                            name))
      .Op(name)
      .Remedy("save the weights alone: torch.save(model.state_dict(), ...), or as safetensors");
}

}  // namespace modelpress::pytorch
