// A pickle that is read and not run: see pickle.h.
#include "core/formats/pytorch/pickle.h"

#include <bit>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::pytorch {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMaxBytes = size_t{1} << 28;
constexpr size_t kMaxValues = size_t{1} << 23;
constexpr size_t kMaxStack = size_t{1} << 20;

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

// The entry of the lists above for "module name" (storages and dtypes without their module); "" for all others.
std::string_view Known(std::string_view global) {
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

absl::Status Malformed(std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED, FormatString("the pickle is not valid: {}", what));
}

absl::Status Refused(std::string_view global) {
  std::string name(global);
  if (const size_t space = name.find(' '); space != std::string::npos) name[space] = '.';
  return Error(ERROR_REASON_OP_UNSUPPORTED,
               FormatString("the pickle calls {}, which rebuilds no tensor; nothing was executed",
                            name))
      .Op(name)
      .Remedy("save the weights alone: torch.save(model.state_dict(), ...), or as safetensors");
}

// The machine. One per pickle.
class Machine {
 public:
  explicit Machine(std::span<const std::byte> bytes) : bytes_(bytes) {}

  absl::StatusOr<Pickle> Run() {
    if (bytes_.size() > kMaxBytes) return Limit("bytes", kMaxBytes);
    for (bool stopped = false; !stopped;) {
      if (at_ >= bytes_.size()) return Malformed("it ends before its STOP");
      MP_RETURN_IF_ERROR(Step(std::to_integer<uint8_t>(bytes_[at_++]), &stopped));
      if (pickle_.values.size() > kMaxValues) return Limit("values", kMaxValues);
      if (stack_.size() > kMaxStack) return Limit("values on the stack", kMaxStack);
    }
    MP_ASSIGN_OR_RETURN(pickle_.root, Pop());
    return std::move(pickle_);
  }

 private:
  static absl::Status Limit(std::string_view of, size_t limit) {
    return Error(ERROR_REASON_MODEL_LIMIT,
                 FormatString("the pickle has more than {} {}", limit, of))
        .With("limit", std::to_string(limit));
  }

  int New(PickleValue value) {
    pickle_.values.push_back(std::move(value));
    return static_cast<int>(pickle_.values.size()) - 1;
  }
  void Push(PickleValue value) { stack_.push_back(New(std::move(value))); }
  void PushNumber(int64_t number, Kind kind = Kind::kInt) {
    Push({.kind = kind, .number = number});
  }

  absl::StatusOr<int> Pop() {
    const size_t floor = marks_.empty() ? 0 : marks_.back();
    if (stack_.size() <= floor) return Malformed("it takes more from the stack than is there");
    const int value = stack_.back();
    stack_.pop_back();
    return value;
  }

  absl::StatusOr<std::vector<int>> PopMark() {
    if (marks_.empty()) return Malformed("a mark is missing");
    std::vector<int> items(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }

  template <typename T>
  absl::StatusOr<T> Number() {
    if (bytes_.size() - at_ < sizeof(T)) return Malformed("it ends within a number");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string_view> Text(uint64_t length) {
    if (length > bytes_.size() - at_) return Malformed("it ends within a text");
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return text;
  }

  absl::StatusOr<std::string_view> Line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_,
                                bytes_.size() - at_);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return Malformed("it ends within a line");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  absl::Status Remember(uint64_t slot) {
    if (slot > kMaxValues) return Limit("memo slots", kMaxValues);
    if (stack_.empty()) return Malformed("it memorises nothing");
    memo_[slot] = stack_.back();
    return absl::OkStatus();
  }

  absl::Status Recall(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) return Malformed(FormatString("memo slot {} is empty", slot));
    stack_.push_back(found->second);
    return absl::OkStatus();
  }

  absl::Status PushText(const absl::StatusOr<std::string_view>& text) {
    if (!text.ok()) return text.status();
    Push({.kind = Kind::kText, .text = *text});
    return absl::OkStatus();
  }

  // "module name" of two texts that need not lie side by side.
  absl::Status PushGlobal(std::string_view module, std::string_view name) {
    const std::string global = FormatString("{} {}", module, name);
    const std::string_view known = Known(global);
    if (known.empty()) return Refused(global);
    Push({.kind = Kind::kGlobal, .text = known});
    return absl::OkStatus();
  }

  const PickleValue& Value(int index) const { return pickle_.values[index]; }

  absl::Status AddItems(std::vector<int> items, Kind kind) {
    MP_ASSIGN_OR_RETURN(const int target, Pop());
    PickleValue& value = pickle_.values[target];
    if (value.kind != kind) return Malformed("items are added to what takes none");
    if (kind == Kind::kDict && items.size() % 2 != 0) return Malformed("a key has no value");
    value.items.insert(value.items.end(), items.begin(), items.end());
    total_items_ += items.size();
    if (total_items_ > kMaxValues) return Limit("items", kMaxValues);
    stack_.push_back(target);
    return absl::OkStatus();
  }

  absl::Status PushTuple(std::vector<int> items) {
    total_items_ += items.size();
    if (total_items_ > kMaxValues) return Limit("items", kMaxValues);
    Push({.kind = Kind::kTuple, .items = std::move(items)});
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int64_t>> Ints(int index) const {
    const PickleValue& value = Value(index);
    if (value.kind != Kind::kTuple && value.kind != Kind::kList)
      return Malformed("a shape is no tuple");
    std::vector<int64_t> ints;
    for (const int item : value.items) {
      if (Value(item).kind != Kind::kInt) return Malformed("an extent is no integer");
      ints.push_back(Value(item).number);
    }
    return ints;
  }

  // ('storage', class, key, location, elements)
  absl::Status PersistentId() {
    MP_ASSIGN_OR_RETURN(const int id, Pop());
    const PickleValue& tuple = Value(id);
    if (tuple.kind != Kind::kTuple || tuple.items.size() < 5 ||
        Value(tuple.items[0]).kind != Kind::kText || Value(tuple.items[0]).text != "storage" ||
        Value(tuple.items[1]).kind != Kind::kGlobal || Value(tuple.items[2]).kind != Kind::kText ||
        Value(tuple.items[4]).kind != Kind::kInt) {
      return Malformed("a persistent id is no storage");
    }
    PickledTensor storage;
    storage.type = StorageType(Value(tuple.items[1]).text);
    storage.storage = Value(tuple.items[2]).text;
    if (Value(tuple.items[3]).kind == Kind::kText) storage.location = Value(tuple.items[3]).text;
    storage.storage_elements = Value(tuple.items[4]).number;
    if (storage.storage_elements < 0) return Malformed("a storage has a negative size");
    pickle_.tensors.push_back(std::move(storage));
    Push({.kind = Kind::kStorage, .tensor = static_cast<int>(pickle_.tensors.size()) - 1});
    return absl::OkStatus();
  }

  static DataType StorageType(std::string_view name) {
    for (const TypeName& known : kStorages) {
      if (known.name == name) return known.type;
    }
    return DataType::kUint8;  // untyped: bytes, until a dtype says otherwise
  }

  absl::Status RebuildTensor(const PickleValue& arguments, bool has_dtype) {
    if (arguments.items.size() < (has_dtype ? 7u : 4u) ||
        Value(arguments.items[0]).kind != Kind::kStorage ||
        Value(arguments.items[1]).kind != Kind::kInt) {
      return Malformed("a tensor is rebuilt from something else than a storage");
    }
    PickledTensor tensor = pickle_.tensors[Value(arguments.items[0]).tensor];
    tensor.offset = Value(arguments.items[1]).number;
    MP_ASSIGN_OR_RETURN(tensor.dims, Ints(arguments.items[2]));
    MP_ASSIGN_OR_RETURN(tensor.strides, Ints(arguments.items[3]));
    if (has_dtype) {
      const PickleValue& dtype = Value(arguments.items[6]);
      tensor.type = DataType::kUndefined;
      for (const TypeName& known : kDtypes) {
        if (dtype.kind == Kind::kGlobal && dtype.text == known.name) tensor.type = known.type;
      }
      if (tensor.type == DataType::kUndefined) return Malformed("a tensor has no dtype");
    }
    pickle_.tensors.push_back(std::move(tensor));
    Push({.kind = Kind::kTensor, .tensor = static_cast<int>(pickle_.tensors.size()) - 1});
    return absl::OkStatus();
  }

  absl::Status Reduce() {
    MP_ASSIGN_OR_RETURN(const int argument_tuple, Pop());
    MP_ASSIGN_OR_RETURN(const int callee, Pop());
    if (Value(callee).kind != Kind::kGlobal || Value(argument_tuple).kind != Kind::kTuple) {
      return Malformed("something is called that is no function");
    }
    const std::string_view name = Value(callee).text;
    const PickleValue arguments = Value(argument_tuple);
    if (name == "torch._utils _rebuild_tensor_v2") return RebuildTensor(arguments, false);
    if (name == "torch._utils _rebuild_tensor_v3") return RebuildTensor(arguments, true);
    if (name.starts_with("torch._utils _rebuild_parameter"))
      return HandOn(arguments, Kind::kTensor);
    if (name == "torch._tensor _rebuild_from_type_v2") {
      // (function, class, arguments, state): the function again, on its arguments.
      if (arguments.items.size() < 3) return Malformed("a tensor is rebuilt from too little");
      stack_.push_back(arguments.items[0]);
      stack_.push_back(arguments.items[2]);
      if (++nested_ > 16) return Malformed("tensors are rebuilt from each other");
      const absl::Status status = Reduce();
      --nested_;
      return status;
    }
    if (name == "torch Size") return HandOn(arguments, Kind::kTuple);
    if (name == "collections OrderedDict") {
      PickleValue dict{.kind = Kind::kDict};
      if (!arguments.items.empty()) {
        for (const int pair : Value(arguments.items[0]).items) {
          if (Value(pair).items.size() != 2) return Malformed("an OrderedDict is made of no pairs");
          dict.items.insert(dict.items.end(), Value(pair).items.begin(), Value(pair).items.end());
        }
        total_items_ += dict.items.size();
        if (total_items_ > kMaxValues) return Limit("items", kMaxValues);
      }
      Push(std::move(dict));
      return absl::OkStatus();
    }
    if (name == "torch device" || name == "torch.serialization _get_layout") {
      Push({.kind = Kind::kOther});
      return absl::OkStatus();
    }
    return Refused(name);
  }

  absl::Status HandOn(const PickleValue& arguments, Kind kind) {
    if (arguments.items.empty() || Value(arguments.items[0]).kind != kind) {
      return Malformed("a call has other arguments than it takes");
    }
    stack_.push_back(arguments.items[0]);
    return absl::OkStatus();
  }

  // Attributes of an OrderedDict (_metadata of a state dict) are of no interest; nothing else has any.
  absl::Status Build() {
    MP_ASSIGN_OR_RETURN(const int state, Pop());
    (void)state;
    if (stack_.empty() || Value(stack_.back()).kind != Kind::kDict) {
      return Malformed("BUILD gives a state to what has none");
    }
    return absl::OkStatus();
  }

  // LONG1 and LONG4: little-endian two's complement of that many bytes.
  absl::Status PushLong(uint64_t length) {
    MP_ASSIGN_OR_RETURN(const std::string_view text, Text(length));
    if (length > 8) return Malformed("an integer has more than 64 bits");
    uint64_t value = 0;
    for (size_t i = 0; i < length; ++i) value |= uint64_t{static_cast<uint8_t>(text[i])} << (8 * i);
    if (length > 0 && length < 8 && (static_cast<uint8_t>(text[length - 1]) & 0x80) != 0) {
      value |= ~uint64_t{0} << (8 * length);
    }
    PushNumber(std::bit_cast<int64_t>(value));
    return absl::OkStatus();
  }

  absl::Status Step(uint8_t opcode, bool* stopped);

  std::span<const std::byte> bytes_;
  size_t at_ = 0;
  Pickle pickle_;
  std::vector<int> stack_;
  std::vector<size_t> marks_;
  absl::flat_hash_map<uint64_t, int> memo_;
  size_t total_items_ = 0;
  int nested_ = 0;
};

absl::Status Machine::Step(uint8_t opcode, bool* stopped) {
  switch (opcode) {
    case 0x80: {  // PROTO
      MP_ASSIGN_OR_RETURN(const uint8_t version, Number<uint8_t>());
      return version <= 5 ? absl::OkStatus()
                          : Malformed(FormatString("protocol {} is not known", version));
    }
    case 0x95: {  // FRAME
      MP_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>());
      return length <= bytes_.size() - at_ ? absl::OkStatus()
                                           : Malformed("a frame is longer than the pickle");
    }
    case '.':
      *stopped = true;
      return absl::OkStatus();
    case '(':
      marks_.push_back(stack_.size());
      return marks_.size() <= kMaxStack ? absl::OkStatus() : Limit("marks", kMaxStack);
    case '0':
      return Pop().status();
    case '1':
      return PopMark().status();
    case '2':
      if (stack_.empty()) return Malformed("it copies the top of an empty stack");
      stack_.push_back(stack_.back());
      return absl::OkStatus();
    case 'N':
      Push({});
      return absl::OkStatus();
    case 0x88:
    case 0x89:
      PushNumber(opcode == 0x88 ? 1 : 0, Kind::kBool);
      return absl::OkStatus();
    case 'J': {
      MP_ASSIGN_OR_RETURN(const int32_t value, Number<int32_t>());
      PushNumber(value);
      return absl::OkStatus();
    }
    case 'K': {
      MP_ASSIGN_OR_RETURN(const uint8_t value, Number<uint8_t>());
      PushNumber(value);
      return absl::OkStatus();
    }
    case 'M': {
      MP_ASSIGN_OR_RETURN(const uint16_t value, Number<uint16_t>());
      PushNumber(value);
      return absl::OkStatus();
    }
    case 0x8a: {
      MP_ASSIGN_OR_RETURN(const uint8_t length, Number<uint8_t>());
      return PushLong(length);
    }
    case 0x8b: {
      MP_ASSIGN_OR_RETURN(const uint32_t length, Number<uint32_t>());
      return PushLong(length);
    }
    case 'G': {  // big-endian
      MP_ASSIGN_OR_RETURN(const uint64_t bits, Number<uint64_t>());
      Push({.kind = Kind::kFloat, .real = std::bit_cast<double>(std::byteswap(bits))});
      return absl::OkStatus();
    }
    case 'X':
    case 'T':
    case 'B': {
      MP_ASSIGN_OR_RETURN(const uint32_t length, Number<uint32_t>());
      return PushText(Text(length));
    }
    case 0x8c:
    case 'U':
    case 'C': {
      MP_ASSIGN_OR_RETURN(const uint8_t length, Number<uint8_t>());
      return PushText(Text(length));
    }
    case 0x8d:
    case 0x8e: {
      MP_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>());
      return PushText(Text(length));
    }
    case ')':
      return PushTuple({});
    case ']':
      Push({.kind = Kind::kList});
      return absl::OkStatus();
    case '}':
      Push({.kind = Kind::kDict});
      return absl::OkStatus();
    case 't': {
      MP_ASSIGN_OR_RETURN(std::vector<int> items, PopMark());
      return PushTuple(std::move(items));
    }
    case 'l':
    case 'd': {
      MP_ASSIGN_OR_RETURN(std::vector<int> items, PopMark());
      if (opcode == 'd' && items.size() % 2 != 0) return Malformed("a key has no value");
      Push({.kind = opcode == 'l' ? Kind::kList : Kind::kDict, .items = std::move(items)});
      return absl::OkStatus();
    }
    case 0x85:
    case 0x86:
    case 0x87: {
      std::vector<int> items(static_cast<size_t>(opcode - 0x84));
      for (size_t i = items.size(); i-- > 0;) {
        MP_ASSIGN_OR_RETURN(items[i], Pop());
      }
      return PushTuple(std::move(items));
    }
    case 'a': {
      MP_ASSIGN_OR_RETURN(const int item, Pop());
      return AddItems({item}, Kind::kList);
    }
    case 'e': {
      MP_ASSIGN_OR_RETURN(std::vector<int> items, PopMark());
      return AddItems(std::move(items), Kind::kList);
    }
    case 's': {
      MP_ASSIGN_OR_RETURN(const int value, Pop());
      MP_ASSIGN_OR_RETURN(const int key, Pop());
      return AddItems({key, value}, Kind::kDict);
    }
    case 'u': {
      MP_ASSIGN_OR_RETURN(std::vector<int> items, PopMark());
      return AddItems(std::move(items), Kind::kDict);
    }
    case 'q': {
      MP_ASSIGN_OR_RETURN(const uint8_t slot, Number<uint8_t>());
      return Remember(slot);
    }
    case 'r': {
      MP_ASSIGN_OR_RETURN(const uint32_t slot, Number<uint32_t>());
      return Remember(slot);
    }
    case 0x94:
      return Remember(memo_.size());
    case 'h': {
      MP_ASSIGN_OR_RETURN(const uint8_t slot, Number<uint8_t>());
      return Recall(slot);
    }
    case 'j': {
      MP_ASSIGN_OR_RETURN(const uint32_t slot, Number<uint32_t>());
      return Recall(slot);
    }
    case 'c': {
      MP_ASSIGN_OR_RETURN(const std::string_view module, Line());
      MP_ASSIGN_OR_RETURN(const std::string_view name, Line());
      return PushGlobal(module, name);
    }
    case 0x93: {
      MP_ASSIGN_OR_RETURN(const int name, Pop());
      MP_ASSIGN_OR_RETURN(const int module, Pop());
      if (Value(name).kind != Kind::kText || Value(module).kind != Kind::kText) {
        return Malformed("a name is no text");
      }
      return PushGlobal(Value(module).text, Value(name).text);
    }
    case 'Q':
      return PersistentId();
    case 'R':
      return Reduce();
    case 'b':
      return Build();
    case 'i': {  // INST: a class is named and made at once
      MP_ASSIGN_OR_RETURN(const std::string_view module, Line());
      MP_ASSIGN_OR_RETURN(const std::string_view name, Line());
      return Refused(FormatString("{} {}", module, name));
    }
    case 0x81:
    case 0x92:
    case 'o':
      return Refused("copyreg __newobj__");
    case 0x82:
    case 0x83:
    case 0x84:
      return Refused("copyreg _extension_registry");
    default:
      return Malformed(FormatString("opcode {:#x} is not known", opcode));
  }
}

}  // namespace

absl::StatusOr<Pickle> ReadPickle(std::span<const std::byte> bytes) { return Machine(bytes).Run(); }

}  // namespace modelpress::pytorch
