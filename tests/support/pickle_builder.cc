// Pickles and archives, byte by byte: see pickle_builder.h.
#include "tests/support/pickle_builder.h"

#include <array>

namespace modelpress::testing {
namespace {

std::string Little(uint64_t value, int bytes) {
  std::string result;
  for (int i = 0; i < bytes; ++i) result.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  return result;
}

std::string Tuple(const std::vector<int64_t>& values) {
  std::string result = "(";
  for (const int64_t value : values) result += PickleInt(value);
  return result + "t";
}

uint32_t Crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit)
        value = (value & 1) != 0 ? 0xedb88320u ^ (value >> 1) : value >> 1;
      made[i] = value;
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) crc = table[(crc ^ static_cast<uint8_t>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

}  // namespace

std::string PickleText(std::string_view text) {
  return "X" + Little(text.size(), 4) + std::string(text);
}

std::string PickleInt(int64_t value) {
  return "\x8a\x08" + Little(static_cast<uint64_t>(value), 8);
}

std::string PickleGlobal(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}

std::string PickleTensor(std::string_view storage_class, std::string_view key, int64_t elements,
                         int64_t offset, const std::vector<int64_t>& dims,
                         const std::vector<int64_t>& strides) {
  return PickleGlobal("torch._utils", "_rebuild_tensor_v2") + "((" + PickleText("storage") +
         PickleGlobal("torch", storage_class) + PickleText(key) + PickleText("cpu") +
         PickleInt(elements) + "tQ" + PickleInt(offset) + Tuple(dims) + Tuple(strides) + "\x89" +
         PickleGlobal("collections", "OrderedDict") + ")RtR";
}

std::string Pickle(std::string_view program) { return "\x80\x02" + std::string(program) + "."; }

std::string PickleDict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string result = "}(";
  for (const auto& [name, value] : items) result += PickleText(name) + value;
  return result + "u";
}

std::string RawZip(const std::vector<RawEntry>& entries) {
  std::string zip, directory;
  for (const RawEntry& entry : entries) {
    const uint64_t stored = entry.claimed_stored_size < 0
                                ? entry.bytes.size()
                                : static_cast<uint64_t>(entry.claimed_stored_size);
    const uint64_t size =
        entry.claimed_size < 0 ? stored : static_cast<uint64_t>(entry.claimed_size);
    const uint64_t offset =
        entry.claimed_offset < 0 ? zip.size() : static_cast<uint64_t>(entry.claimed_offset);
    const std::string facts = Little(entry.method, 2) + Little(0, 2) + Little(33, 2) +
                              Little(Crc32(entry.bytes), 4) + Little(stored, 4) + Little(size, 4) +
                              Little(entry.name.size(), 2) + Little(0, 2);
    zip += "PK\x03\x04" + Little(20, 2) + Little(0, 2) + facts + entry.name + entry.bytes;
    directory += "PK\x01\x02" + Little(20, 2) + Little(20, 2) + Little(0, 2) + facts +
                 Little(0, 2) + Little(0, 2) + Little(0, 2) + Little(0, 4) + Little(offset, 4) +
                 entry.name;
  }
  return zip + directory + "PK\x05\x06" + Little(0, 4) + Little(entries.size(), 2) +
         Little(entries.size(), 2) + Little(directory.size(), 4) + Little(zip.size(), 4) +
         Little(0, 2);
}

}  // namespace modelpress::testing
