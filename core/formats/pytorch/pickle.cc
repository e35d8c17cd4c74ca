// A pickle that is read and not run: see pickle.h.
#include "core/formats/pytorch/pickle.h"

#include "core/formats/pytorch/pickle_machine.h"

namespace modelpress::pytorch {

absl::Status PickleMachine::Step(uint8_t opcode, bool* stopped) {
  switch (opcode) {
    case 0x80: {  // PROTO
      MP_ASSIGN_OR_RETURN(const uint8_t version, Number<uint8_t>());
      return version <= 5 ? absl::OkStatus()
                          : MalformedPickle(FormatString("protocol {} is not known", version));
    }
    case 0x95: {  // FRAME
      MP_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>());
      return length <= bytes_.size() - at_ ? absl::OkStatus()
                                           : MalformedPickle("a frame is longer than the pickle");
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
      if (stack_.empty()) return MalformedPickle("it copies the top of an empty stack");
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
      if (opcode == 'd' && items.size() % 2 != 0) return MalformedPickle("a key has no value");
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
        return MalformedPickle("a name is no text");
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
      return RefusedGlobal(FormatString("{} {}", module, name));
    }
    case 0x81:
    case 0x92:
    case 'o':
      return RefusedGlobal("copyreg __newobj__");
    case 0x82:
    case 0x83:
    case 0x84:
      return RefusedGlobal("copyreg _extension_registry");
    default:
      return MalformedPickle(FormatString("opcode {:#x} is not known", opcode));
  }
}

absl::StatusOr<Pickle> ReadPickle(std::span<const std::byte> bytes) {
  return PickleMachine(bytes).Run();
}

}  // namespace modelpress::pytorch
