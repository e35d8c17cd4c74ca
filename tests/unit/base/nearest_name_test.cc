// Typing slips find the right name; nothing else does.
#include "core/base/nearest_name.h"

#include <gtest/gtest.h>

namespace modelpress {
namespace {

TEST(NearestNameTest, FindsSlipsOnly) {
  const std::vector<std::string> names = {"accuracy", "f1", "f1_binary", "sqnr_db", "size_bytes"};
  EXPECT_EQ(NearestName("acuracy", names), "accuracy");
  EXPECT_EQ(NearestName("accuarcy", names), "accuracy");
  EXPECT_EQ(NearestName("f2", names), "f1");
  EXPECT_EQ(NearestName("sqnr", names), "sqnr_db");
  EXPECT_EQ(NearestName("bytes", names), "size_bytes");
  EXPECT_EQ(NearestName("zzz", names), "");
  EXPECT_EQ(NearestName("", names), "");
  EXPECT_EQ(NearestName("x", names), "");
  EXPECT_EQ(NearestName(std::string(100000, 'a'), names), "");
}

}  // namespace
}  // namespace modelpress
