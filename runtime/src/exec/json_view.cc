#include "json_view.h"

#include <charconv>

#include "../cl/cl_error.h"

namespace coexec {
namespace {

[[noreturn]] void malformed(std::string_view at) {
  throw Error("malformed JSON at '" + std::string(at.substr(0, 40)) + "'");
}

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) {
    text.remove_prefix(1);
  }
  return text;
}

// Length of the string that text begins with, quotes included.
size_t string_length(std::string_view text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      return i + 1;
    }
  }
  malformed(text);
}

// Length of the value that text begins with.
size_t value_length(std::string_view text) {
  if (text.empty()) {
    malformed(text);
  }
  if (text[0] == '"') {
    return string_length(text);
  }
  if (text[0] == '{' || text[0] == '[') {
    size_t depth = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      switch (text[i]) {
        case '"':
          i += string_length(text.substr(i)) - 1;
          break;
        case '{':
        case '[':
          ++depth;
          break;
        case '}':
        case ']':
          if (--depth == 0) {
            return i + 1;
          }
      }
    }
    malformed(text);
  }
  size_t n = 0;
  while (n < text.size() && !is_space(text[n]) && text[n] != ',' && text[n] != '}' && text[n] != ']') {
    ++n;
  }
  if (n == 0) {
    malformed(text);
  }
  return n;
}

// Takes a value from the front of text.
std::string_view take_value(std::string_view* text) {
  *text = trim(*text);
  const size_t n = value_length(*text);
  const std::string_view value = text->substr(0, n);
  text->remove_prefix(n);
  return value;
}

// Takes a character from the front of text if it is the next one.
bool take(std::string_view* text, char c) {
  *text = trim(*text);
  if (text->empty() || text->front() != c) {
    return false;
  }
  text->remove_prefix(1);
  return true;
}

void append_utf8(std::string* to, unsigned code) {
  if (code < 0x80) {
    *to += static_cast<char>(code);
  } else if (code < 0x800) {
    *to += static_cast<char>(0xc0 | code >> 6);
    *to += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *to += static_cast<char>(0xe0 | code >> 12);
    *to += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    *to += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    *to += static_cast<char>(0xf0 | code >> 18);
    *to += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    *to += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    *to += static_cast<char>(0x80 | (code & 0x3f));
  }
}

unsigned hex4(std::string_view text, size_t at) {
  unsigned value = 0;
  const char* begin = text.data() + at;
  if (at + 4 > text.size() || std::from_chars(begin, begin + 4, value, 16).ptr != begin + 4) {
    malformed(text);
  }
  return value;
}

}  // namespace

JsonView::JsonView(std::string_view text) {
  text = trim(text);
  text_ = text.substr(0, value_length(text));
}

JsonView JsonView::at(std::string_view key) const {
  std::string_view rest = text_;
  if (!take(&rest, '{') || take(&rest, '}')) {
    return {};
  }
  do {
    const std::string_view name = take_value(&rest);
    if (!take(&rest, ':')) {
      malformed(rest);
    }
    const std::string_view value = take_value(&rest);
    if (name.size() == key.size() + 2 && name.substr(1, key.size()) == key) {
      JsonView found;
      found.text_ = value;
      return found;
    }
  } while (take(&rest, ','));
  return {};
}

std::vector<JsonView> JsonView::items() const {
  std::string_view rest = text_;
  if (!take(&rest, '[')) {
    malformed(text_);
  }
  std::vector<JsonView> found;
  if (take(&rest, ']')) {
    return found;
  }
  do {
    found.emplace_back();
    found.back().text_ = take_value(&rest);
  } while (take(&rest, ','));
  return found;
}

std::vector<std::pair<std::string, JsonView>> JsonView::members() const {
  std::string_view rest = text_;
  if (!take(&rest, '{')) {
    malformed(text_);
  }
  std::vector<std::pair<std::string, JsonView>> found;
  if (take(&rest, '}')) {
    return found;
  }
  do {
    const JsonView name(take_value(&rest));
    if (!take(&rest, ':')) {
      malformed(rest);
    }
    found.emplace_back(name.string(), JsonView());
    found.back().second.text_ = take_value(&rest);
  } while (take(&rest, ','));
  return found;
}

int64_t JsonView::integer() const {
  int64_t value = 0;
  const char* end = text_.data() + text_.size();
  if (text_.empty() || std::from_chars(text_.data(), end, value).ptr != end) {
    malformed(text_);
  }
  return value;
}

std::string JsonView::string() const {
  if (text_.size() < 2 || text_.front() != '"') {
    malformed(text_);
  }
  std::string out;
  for (size_t i = 1; i + 1 < text_.size(); ++i) {
    if (text_[i] != '\\') {
      out += text_[i];
      continue;
    }
    const char c = text_[++i];
    switch (c) {
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'r':
        out += '\r';
        break;
      case 'b':
        out += '\b';
        break;
      case 'f':
        out += '\f';
        break;
      case 'u': {
        unsigned code = hex4(text_, i + 1);
        i += 4;
        if (code >= 0xd800 && code < 0xdc00 && i + 6 < text_.size() && text_[i + 1] == '\\' && text_[i + 2] == 'u') {
          code = 0x10000 + ((code - 0xd800) << 10) + (hex4(text_, i + 3) - 0xdc00);
          i += 6;
        }
        append_utf8(&out, code);
        break;
      }
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace coexec
