// Text that is safe to put into a protobuf string field. Names inside models are arbitrary bytes,
// and one that is not UTF-8 makes the whole message unreadable for the receiver.
#pragma once

#include <string>
#include <string_view>

namespace modelpress {

// Whether the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most
// U+10FFFF).
bool IsUtf8(std::string_view bytes);
// The text itself, with every byte that is not part of a well-formed character written as \xNN.
std::string ToUtf8(std::string_view bytes);

}  // namespace modelpress
