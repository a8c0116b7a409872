// Buffers and copies. WebGPU's offsets and sizes are multiples of four bytes: buffers are padded to that, and of a
// range that begins or ends within a word, that word is read first.
#include <algorithm>
#include <cstring>

#include "../cl/cl_error.h"
#include "objects.h"

namespace coexec {
namespace wg {
namespace {

constexpr size_t kWord = 4;

size_t word_floor(size_t n) {
  return n / kWord * kWord;
}

size_t word_ceil(size_t n) {
  return (n + kWord - 1) / kWord * kWord;
}

cl_int lost(const Gpu& gpu) {
  set_error_detail(kLost, "the memory was lost with the device (" + gpu.why_lost() + "): load the module again");
  return kLost;
}

cl_mem wgpu_create_buffer(cl_context context, cl_bitfield, size_t bytes, void*, cl_int* code) {
  Attempt attempt;
  const GpuPtr gpu = context->gpu();
  if (!gpu) {
    *code = kLost;
    return nullptr;
  }
  static std::atomic<uint64_t> number{0};
  auto mem = std::make_unique<_cl_mem>();
  mem->context = context;
  mem->bytes = bytes;
  mem->padded = std::max(kWord, word_ceil(bytes));
  mem->number = ++number;
  const BufferDescriptor descriptor{
      nullptr, {}, kUsageStorage | kUsageCopySource | kUsageCopyDestination, mem->padded, 0};
  mem->buffer = wgpu().DeviceCreateBuffer(gpu->device(), &descriptor);
  mem->gpu = gpu;
  *code = mem->buffer ? attempt.code(kOutOfMemory) : static_cast<cl_int>(kOutOfMemory);
  if (*code != CL_SUCCESS) {
    if (mem->buffer) {
      wgpu().BufferRelease(mem->buffer);
    }
    return nullptr;
  }
  return mem.release();
}

cl_mem wgpu_create_part(cl_mem of, cl_bitfield, cl_uint, const void* region, cl_int* code) {
  const auto* part = static_cast<const cl_buffer_region*>(region);
  if (part->origin % of->gpu->limits().min_storage_alignment != 0) {
    *code = -13;  // CL_MISALIGNED_SUB_BUFFER_OFFSET
    return nullptr;
  }
  auto* mem = new _cl_mem(*of);
  mem->offset = part->origin;
  mem->is_part = true;
  *code = CL_SUCCESS;
  return mem;
}

cl_int wgpu_release_mem(cl_mem mem) {
  if (!mem->is_part) {
    forget_groups(mem);
    wgpu().BufferRelease(mem->buffer);  // wgpu-native keeps it until its commands have ended
  }
  delete mem;
  return CL_SUCCESS;
}

// Reads words and waits for them.
bool read_words(Gpu& gpu, Buffer from, size_t offset, size_t bytes, void* to) {
  const Encoder encoder = wgpu().DeviceCreateCommandEncoder(gpu.device(), nullptr);
  const ReadBackPtr r = gpu.read_back(encoder, from, offset, bytes);
  r->to = to;
  const Gpu::Ticket ticket = gpu.submit(encoder);
  gpu.map(r, ticket);
  gpu.wait(ticket);
  return gpu.take(r);
}

// The words that contain the range, with its new bytes. Null if the old bytes of a partial word could not be read.
std::unique_ptr<char[]> merge_words(const _cl_mem& m, size_t offset, const void* from, size_t bytes) {
  const size_t begin = word_floor(offset), end = word_ceil(offset + bytes);
  auto words = std::make_unique<char[]>(end - begin);
  const bool head = begin != offset;
  const bool tail = end != offset + bytes && offset + bytes != m.bytes;  // after the buffer's end there is padding
  if (head && !read_words(*m.gpu, m.buffer, begin, kWord, &words[0])) {
    return nullptr;
  }
  if (tail && !(head && end - begin == kWord) &&
      !read_words(*m.gpu, m.buffer, end - kWord, kWord, &words[end - begin - kWord])) {
    return nullptr;
  }
  std::memcpy(&words[offset - begin], from, bytes);
  return words;
}

cl_int write_bytes(cl_mem m, size_t offset, const void* from, size_t bytes, Gpu::Ticket* ticket) {
  if (offset % kWord == 0 && bytes % kWord == 0) {
    *ticket = m->gpu->write(m->buffer, offset, from, bytes);
    return CL_SUCCESS;
  }
  const auto words = merge_words(*m, offset, from, bytes);
  if (!words) {
    return m->gpu->is_lost() ? lost(*m->gpu) : static_cast<cl_int>(kRejected);
  }
  const size_t begin = word_floor(offset);
  *ticket = m->gpu->write(m->buffer, begin, words.get(), word_ceil(offset + bytes) - begin);
  return CL_SUCCESS;
}

cl_int wgpu_write(cl_command_queue queue, cl_mem m, cl_bool, size_t offset, size_t bytes, const void* from, cl_uint,
                  const cl_event*, cl_event* event) {
  Attempt attempt;
  if (m->gpu->is_lost()) {
    return lost(*m->gpu);
  }
  std::unique_ptr<_cl_event> made(make_event(m->gpu));
  cl_int code = write_bytes(m, m->offset + offset, from, bytes, &made->ticket);
  if (code == CL_SUCCESS && queue->profiling && event) {
    // The bytes are copied before the commands of the next submission.
    CommandTimer timer(*m->gpu, true);
    const Encoder encoder = wgpu().DeviceCreateCommandEncoder(m->gpu->device(), nullptr);
    timer.mark(encoder, false);
    timer.mark(encoder, true);
    timer.resolve(encoder, made.get());
    made->ticket = m->gpu->submit(encoder);
    if (made->times) {
      m->gpu->map(made->times, made->ticket);
    }
  }
  code = code == CL_SUCCESS ? attempt.code() : code;
  if (code == CL_SUCCESS && event) {
    *event = made.release();
  }
  return code;
}

cl_int wgpu_read(cl_command_queue queue, cl_mem m, cl_bool blocking, size_t at, size_t bytes, void* to, cl_uint,
                 const cl_event*, cl_event* event) {
  Attempt attempt;
  if (m->gpu->is_lost()) {
    return lost(*m->gpu);
  }
  const size_t offset = m->offset + at, begin = word_floor(offset), end = word_ceil(offset + bytes);
  std::unique_ptr<_cl_event> made(make_event(m->gpu));
  const Encoder encoder = wgpu().DeviceCreateCommandEncoder(m->gpu->device(), nullptr);
  CommandTimer timer(*m->gpu, queue->profiling);
  timer.mark(encoder, false);
  made->read = m->gpu->read_back(encoder, m->buffer, begin, end - begin);
  made->read->skip = offset - begin;
  made->read->bytes = bytes;
  made->read->to = to;
  timer.mark(encoder, true);
  timer.resolve(encoder, made.get());
  made->ticket = m->gpu->submit(encoder);
  m->gpu->map(made->read, made->ticket);
  if (made->times) {
    m->gpu->map(made->times, made->ticket);
  }
  if (const cl_int code = attempt.code()) {
    return code;
  }
  if (blocking) {
    m->gpu->wait(made->ticket);
    if (!made->finish()) {
      return lost(*m->gpu);
    }
  }
  if (event) {
    *event = made.release();
  }
  return CL_SUCCESS;
}

cl_int wgpu_copy(cl_command_queue queue, cl_mem a, cl_mem b, size_t from, size_t to, size_t bytes, cl_uint,
                 const cl_event*, cl_event* event) {
  Attempt attempt;
  if (a->gpu->is_lost() || b->gpu->is_lost()) {
    return lost(a->gpu->is_lost() ? *a->gpu : *b->gpu);
  }
  from += a->offset;
  to += b->offset;
  Gpu& gpu = *a->gpu;
  std::unique_ptr<_cl_event> made(make_event(a->gpu));
  if (from % kWord != 0 || to % kWord != 0 || bytes % kWord != 0) {
    auto through = std::make_unique<char[]>(word_ceil(from + bytes) - word_floor(from));
    const size_t begin = word_floor(from);
    if (!read_words(gpu, a->buffer, begin, word_ceil(from + bytes) - begin, through.get())) {
      return gpu.is_lost() ? lost(gpu) : static_cast<cl_int>(kRejected);
    }
    if (const cl_int code = write_bytes(b, to, &through[from - begin], bytes, &made->ticket)) {
      return code;
    }
  } else {
    const Encoder encoder = wgpu().DeviceCreateCommandEncoder(gpu.device(), nullptr);
    CommandTimer timer(gpu, queue->profiling);
    timer.mark(encoder, false);
    if (a->buffer == b->buffer) {  // WebGPU copies between different buffers only
      const BufferDescriptor descriptor{nullptr, {}, kUsageCopySource | kUsageCopyDestination, bytes, 0};
      const Buffer between = wgpu().DeviceCreateBuffer(gpu.device(), &descriptor);
      wgpu().CommandEncoderCopyBufferToBuffer(encoder, a->buffer, from, between, 0, bytes);
      wgpu().CommandEncoderCopyBufferToBuffer(encoder, between, 0, b->buffer, to, bytes);
      wgpu().BufferRelease(between);
    } else {
      wgpu().CommandEncoderCopyBufferToBuffer(encoder, a->buffer, from, b->buffer, to, bytes);
    }
    timer.mark(encoder, true);
    timer.resolve(encoder, made.get());
    made->ticket = gpu.submit(encoder);
    if (made->times) {
      gpu.map(made->times, made->ticket);
    }
  }
  const cl_int code = attempt.code();
  if (code == CL_SUCCESS && event) {
    *event = made.release();
  }
  return code;
}

}  // namespace

void put_memory_functions(ClApi* api) {
  api->copies_at_enqueue = true;
  api->CreateBuffer = wgpu_create_buffer;
  api->CreateSubBuffer = wgpu_create_part;
  api->ReleaseMemObject = wgpu_release_mem;
  api->EnqueueWriteBuffer = wgpu_write;
  api->EnqueueReadBuffer = wgpu_read;
  api->EnqueueCopyBuffer = wgpu_copy;
}

}  // namespace wg
}  // namespace coexec
