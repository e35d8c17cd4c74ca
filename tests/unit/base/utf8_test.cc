// Well-formed UTF-8 and what becomes of other bytes.
#include "core/base/utf8.h"

#include <gtest/gtest.h>

#include "core/base/status.h"

namespace modelpress {
namespace {

TEST(Utf8Test, KeepsGoodTextAndWritesBadBytesOut) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"fc.weight", "fc.weight"},
      {"\u00fc\u20ac\U0001F600", "\u00fc\u20ac\U0001F600"},
      {"a\xff", "a\\xff"},
      {"\xc0\xaf", "\\xc0\\xaf"},                    // overlong
      {"\xe0\x80\x80", "\\xe0\\x80\\x80"},           // overlong
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},           // surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // above U+10FFFF
      {"\xe2\x82", "\\xe2\\x82"},                    // cut short
      {"\xe2\x82x", "\\xe2\\x82x"},
      {"\x80z", "\\x80z"},
  };
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(ToUtf8(bytes), text);
    EXPECT_EQ(IsUtf8(bytes), bytes == text) << text;
  }
}

TEST(Utf8Test, AnErrorAboutABadNameKeepsItsReason) {
  const absl::Status status = Error(ERROR_REASON_MODEL_MALFORMED, "bad \xff").Tensor("w\xfe");
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_MODEL_MALFORMED);
  EXPECT_EQ(DetailOf(status).metadata().at("tensor"), "w\\xfe");
  EXPECT_EQ(std::string(status.message()), "bad \\xff");
}

}  // namespace
}  // namespace modelpress
