// The machine that follows a pickle. Internal to this folder: pickle.h is what others use.
#pragma once

#include <bit>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/pytorch/pickle.h"
#include "core/formats/pytorch/pickle_names.h"

namespace modelpress::pytorch {

// The machine. One per pickle.
class PickleMachine {
 public:
  using Kind = PickleValue::Kind;
  explicit PickleMachine(std::span<const std::byte> bytes) : bytes_(bytes) {}

  absl::StatusOr<Pickle> Run() {
    if (bytes_.size() > kMaxBytes) return Limit("bytes", kMaxBytes);
    for (bool stopped = false; !stopped;) {
      if (at_ >= bytes_.size()) return MalformedPickle("it ends before its STOP");
      MP_RETURN_IF_ERROR(Step(std::to_integer<uint8_t>(bytes_[at_++]), &stopped));
      if (pickle_.values.size() > kMaxValues) return Limit("values", kMaxValues);
      if (stack_.size() > kMaxStack) return Limit("values on the stack", kMaxStack);
    }
    MP_ASSIGN_OR_RETURN(pickle_.root, Pop());
    return std::move(pickle_);
  }

 private:
  static constexpr size_t kMaxBytes = size_t{1} << 28;
  static constexpr size_t kMaxValues = size_t{1} << 23;
  static constexpr size_t kMaxStack = size_t{1} << 20;
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
    if (stack_.size() <= floor)
      return MalformedPickle("it takes more from the stack than is there");
    const int value = stack_.back();
    stack_.pop_back();
    return value;
  }

  absl::StatusOr<std::vector<int>> PopMark() {
    if (marks_.empty()) return MalformedPickle("a mark is missing");
    std::vector<int> items(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
    stack_.resize(marks_.back());
    marks_.pop_back();
    return items;
  }

  template <typename T>
  absl::StatusOr<T> Number() {
    if (bytes_.size() - at_ < sizeof(T)) return MalformedPickle("it ends within a number");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string_view> Text(uint64_t length) {
    if (length > bytes_.size() - at_) return MalformedPickle("it ends within a text");
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
    at_ += length;
    return text;
  }

  absl::StatusOr<std::string_view> Line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_,
                                bytes_.size() - at_);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return MalformedPickle("it ends within a line");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  absl::Status Remember(uint64_t slot) {
    if (slot > kMaxValues) return Limit("memo slots", kMaxValues);
    if (stack_.empty()) return MalformedPickle("it memorises nothing");
    memo_[slot] = stack_.back();
    return absl::OkStatus();
  }

  absl::Status Recall(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) return MalformedPickle(FormatString("memo slot {} is empty", slot));
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
    const std::string_view known = KnownGlobal(global);
    if (known.empty()) return RefusedGlobal(global);
    Push({.kind = Kind::kGlobal, .text = known});
    return absl::OkStatus();
  }

  const PickleValue& Value(int index) const { return pickle_.values[index]; }

  absl::Status AddItems(std::vector<int> items, Kind kind) {
    MP_ASSIGN_OR_RETURN(const int target, Pop());
    PickleValue& value = pickle_.values[target];
    if (value.kind != kind) return MalformedPickle("items are added to what takes none");
    if (kind == Kind::kDict && items.size() % 2 != 0) return MalformedPickle("a key has no value");
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
      return MalformedPickle("a shape is no tuple");
    std::vector<int64_t> ints;
    for (const int item : value.items) {
      if (Value(item).kind != Kind::kInt) return MalformedPickle("an extent is no integer");
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
      return MalformedPickle("a persistent id is no storage");
    }
    PickledTensor storage;
    storage.type = StorageType(Value(tuple.items[1]).text);
    storage.storage = Value(tuple.items[2]).text;
    if (Value(tuple.items[3]).kind == Kind::kText) storage.location = Value(tuple.items[3]).text;
    storage.storage_elements = Value(tuple.items[4]).number;
    if (storage.storage_elements < 0) return MalformedPickle("a storage has a negative size");
    pickle_.tensors.push_back(std::move(storage));
    Push({.kind = Kind::kStorage, .tensor = static_cast<int>(pickle_.tensors.size()) - 1});
    return absl::OkStatus();
  }

  absl::Status RebuildTensor(const PickleValue& arguments, bool has_dtype) {
    if (arguments.items.size() < (has_dtype ? 7u : 4u) ||
        Value(arguments.items[0]).kind != Kind::kStorage ||
        Value(arguments.items[1]).kind != Kind::kInt) {
      return MalformedPickle("a tensor is rebuilt from something else than a storage");
    }
    PickledTensor tensor = pickle_.tensors[Value(arguments.items[0]).tensor];
    tensor.offset = Value(arguments.items[1]).number;
    MP_ASSIGN_OR_RETURN(tensor.dims, Ints(arguments.items[2]));
    MP_ASSIGN_OR_RETURN(tensor.strides, Ints(arguments.items[3]));
    if (has_dtype) {
      const PickleValue& dtype = Value(arguments.items[6]);
      const std::optional<DataType> type =
          dtype.kind == Kind::kGlobal ? DtypeNamed(dtype.text) : std::nullopt;
      tensor.type = type.value_or(DataType::kUndefined);
      if (tensor.type == DataType::kUndefined) return MalformedPickle("a tensor has no dtype");
    }
    pickle_.tensors.push_back(std::move(tensor));
    Push({.kind = Kind::kTensor, .tensor = static_cast<int>(pickle_.tensors.size()) - 1});
    return absl::OkStatus();
  }

  absl::Status Reduce() {
    MP_ASSIGN_OR_RETURN(const int argument_tuple, Pop());
    MP_ASSIGN_OR_RETURN(const int callee, Pop());
    if (Value(callee).kind != Kind::kGlobal || Value(argument_tuple).kind != Kind::kTuple) {
      return MalformedPickle("something is called that is no function");
    }
    const std::string_view name = Value(callee).text;
    const PickleValue arguments = Value(argument_tuple);
    if (name == "torch._utils _rebuild_tensor_v2") return RebuildTensor(arguments, false);
    if (name == "torch._utils _rebuild_tensor_v3") return RebuildTensor(arguments, true);
    if (name.starts_with("torch._utils _rebuild_parameter"))
      return HandOn(arguments, Kind::kTensor);
    if (name == "torch._tensor _rebuild_from_type_v2") {
      // (function, class, arguments, state): the function again, on its arguments.
      if (arguments.items.size() < 3) return MalformedPickle("a tensor is rebuilt from too little");
      stack_.push_back(arguments.items[0]);
      stack_.push_back(arguments.items[2]);
      if (++nested_ > 16) return MalformedPickle("tensors are rebuilt from each other");
      const absl::Status status = Reduce();
      --nested_;
      return status;
    }
    if (name == "torch Size") return HandOn(arguments, Kind::kTuple);
    if (name == "collections OrderedDict") {
      PickleValue dict{.kind = Kind::kDict};
      if (!arguments.items.empty()) {
        for (const int pair : Value(arguments.items[0]).items) {
          if (Value(pair).items.size() != 2)
            return MalformedPickle("an OrderedDict is made of no pairs");
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
    return RefusedGlobal(name);
  }

  absl::Status HandOn(const PickleValue& arguments, Kind kind) {
    if (arguments.items.empty() || Value(arguments.items[0]).kind != kind) {
      return MalformedPickle("a call has other arguments than it takes");
    }
    stack_.push_back(arguments.items[0]);
    return absl::OkStatus();
  }

  // Attributes of an OrderedDict (_metadata of a state dict) are of no interest; nothing else has any.
  absl::Status Build() {
    MP_ASSIGN_OR_RETURN(const int state, Pop());
    (void)state;
    if (stack_.empty() || Value(stack_.back()).kind != Kind::kDict) {
      return MalformedPickle("BUILD gives a state to what has none");
    }
    return absl::OkStatus();
  }

  // LONG1 and LONG4: little-endian two's complement of that many bytes.
  absl::Status PushLong(uint64_t length) {
    MP_ASSIGN_OR_RETURN(const std::string_view text, Text(length));
    if (length > 8) return MalformedPickle("an integer has more than 64 bits");
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

}  // namespace modelpress::pytorch
