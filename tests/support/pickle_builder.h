// Pickles and archives of torch.save, byte by byte, for tests: good ones and such as nobody should write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace modelpress::testing {

// Opcodes of protocol 2 (https://docs.python.org/3/library/pickletools.html).
std::string PickleText(std::string_view text);
std::string PickleInt(int64_t value);
std::string PickleGlobal(std::string_view module, std::string_view name);
// torch._utils._rebuild_tensor_v2 on a storage of that class with `elements`, key `key`.
std::string PickleTensor(std::string_view storage_class, std::string_view key, int64_t elements,
                         int64_t offset, const std::vector<int64_t>& dims,
                         const std::vector<int64_t>& strides);
// PROTO 2, what is given, STOP.
std::string Pickle(std::string_view program);
// A dictionary of names and values that are pickled already.
std::string PickleDict(const std::vector<std::pair<std::string, std::string>>& items);

struct RawEntry {
  std::string name;
  std::string bytes;
  // What the headers say; -1: the truth.
  int64_t claimed_size = -1;
  int64_t claimed_stored_size = -1;
  uint16_t method = 0;  // 8: the bytes are deflated already
  // Where the central directory says that the entry lies; -1: where it does.
  int64_t claimed_offset = -1;
};
// A ZIP archive of these entries, stored unless `method` says otherwise; APPNOTE.TXT 4.3.
std::string RawZip(const std::vector<RawEntry>& entries);

}  // namespace modelpress::testing
