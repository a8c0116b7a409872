#include "exec/json_view.h"

#include "check.h"
#include "cl/cl_error.h"

using namespace coexec;

TEST(json_view, finds_values_and_keeps_their_text) {
  const JsonView v(R"( {"a": [1, -2 ,3], "b": {"c": {"x": "}]\"", "y": []}}, "": 7} tail)");
  CHECK_EQ(v.at("b").at("c").text(), std::string(R"({"x": "}]\"", "y": []})"));
  CHECK_EQ(v.at("b").at("c").at("x").string(), std::string("}]\""));
  CHECK_EQ(v.at("a").items().size(), size_t{3});
  CHECK_EQ(v.at("a").items()[1].integer(), int64_t{-2});
  CHECK_EQ(v.at("").integer(), int64_t{7});
  CHECK_EQ(v.at("b").at("c").at("y").items().size(), size_t{0});
}

TEST(json_view, missing_values_are_false) {
  const JsonView v(R"({"a": 1})");
  CHECK(v.at("a"));
  CHECK(!v.at("b"));
  CHECK(!v.at("b").at("c"));
  CHECK(!v.at("a").at("c"));  // a number has no keys
  CHECK(!JsonView("{}").at("a"));
  CHECK(!JsonView());
}

TEST(json_view, lists_members) {
  const auto members = JsonView(R"( {"a": 1, "b\n": [2, {"c": 3}]} )").members();
  CHECK_EQ(members.size(), size_t{2});
  CHECK_EQ(members[1].first, std::string("b\n"));
  CHECK_EQ(members[1].second.items()[1].at("c").integer(), 3);
  CHECK(JsonView("{}").members().empty());
  message_of([] { JsonView("[]").members(); });
}

TEST(json_view, unescapes_strings) {
  CHECK_EQ(JsonView(R"("a\\b\"\/\n\t\r\b\f")").string(), std::string("a\\b\"/\n\t\r\b\f"));
  CHECK_EQ(JsonView(R"("\u0041\u00e9\u30de\ud83d\ude00")").string(), std::string("A\xc3\xa9\xe3\x83\x9e\xf0\x9f\x98\x80"));
  CHECK_EQ(JsonView("\"gr\xc3\xb6\xc3\x9f" "e\n\"").string(), std::string("gr\xc3\xb6\xc3\x9f" "e\n"));
}

TEST(json_view, malformed_text_is_an_error) {
  for (const char* text : {"", "  ", "{\"a\": [1, 2}", "\"open", "{", "[1, ", "\"a\\\"", "\\"}) {
    message_of([&] { JsonView(text).at("a").items(); });
  }
  message_of([&] { JsonView("{\"a\" 1}").at("a"); });
  message_of([&] { JsonView("{\"a\": }").at("b"); });
  message_of([&] { JsonView("1.5").integer(); });
  message_of([&] { JsonView("12").string(); });
  message_of([&] { JsonView("{}").items(); });
  message_of([&] { JsonView("\"\\u00g1\"").string(); });
}
