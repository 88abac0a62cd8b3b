// Threads that share one op at a time: a span of the range for each, always the same one.
//
// Handing work over takes two microseconds while the threads are awake, against fifty by way of
// Python; they stay awake for a tenth of a millisecond after each op and then sleep. The odd thing:
// if two Python threads call at once, the second does its spans alone, in order, so the bits of a
// result never depend on who was first.
#pragma once

#include <pthread.h>
#include <stdint.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

constexpr int SPINS = 4000;              // looks for new work before sleeping, 0.1 ms or so
constexpr int64_t INLINE_WORK = 1 << 13;  // below this many element operations one thread does it all

static inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Pool {
  public:
    explicit Pool(int threads) : workers_(threads - 1) {
        for (int i = 1; i < threads; ++i) std::thread([this, i] { loop(i); }).detach();
    }

    // function(context, i) for every i in [0, threads), each on its own thread; waits for all.
    void run(void (*function)(void*, int), void* context) {
        function_ = function;
        context_ = context;
        pending_.store(workers_);
        round_.fetch_add(1);
        if (sleepers_.load() > 0) {
            { std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between looking and sleeping
            wake_.notify_all();
        }
        function(context, 0);
        for (int spins = 0; pending_.load() > 0;)
            if (++spins < SPINS)
                pause();
            else
                std::this_thread::yield();
    }

    std::mutex busy;

  private:
    void loop(int index) {
        for (uint64_t seen = 0;;) {
            for (int spins = 0; round_.load() == seen;) {
                if (++spins < SPINS) {
                    pause();
                    continue;
                }
                std::unique_lock<std::mutex> lock(mutex_);
                sleepers_.fetch_add(1);
                wake_.wait(lock, [&] { return round_.load() != seen; });
                sleepers_.fetch_sub(1);
            }
            ++seen;  // every thread takes part in every round, so none is ever skipped
            function_(context_, index);
            pending_.fetch_sub(1);
        }
    }

    const int workers_;
    void (*function_)(void*, int) = nullptr;
    void* context_ = nullptr;
    std::atomic<uint64_t> round_{0};
    std::atomic<int> pending_{0}, sleepers_{0};
    std::mutex mutex_;
    std::condition_variable wake_;
};

// Pools by their number of threads. They live as long as the process: a thread cannot be ended
// safely while the process leaves. A forked child has no threads, so it begins without pools.
struct Pools {
    std::mutex mutex;
    std::map<int, Pool*> by_threads;
};
static Pools* pools = nullptr;
static void forget_pools() { pools = new Pools; }
static Pool& pool_of(int threads) {
    static const bool once = [] {
        forget_pools();
        pthread_atfork(nullptr, nullptr, forget_pools);
        return true;
    }();
    (void)once;
    std::lock_guard<std::mutex> lock(pools->mutex);
    Pool*& pool = pools->by_threads[threads];
    if (pool == nullptr) pool = new Pool(threads);
    return *pool;
}

// work(start, stop) for spans that cover [0, count), their borders multiples of `multiple`; `effort`
// counts element operations. The spans depend on the arguments alone.
template <class Work>
static void parallel(int threads, int64_t count, int64_t multiple, int64_t effort, Work&& work) {
    if (count <= 0) return;
    if (threads == 1 || effort < INLINE_WORK) {
        work(int64_t{0}, count);
        return;
    }
    const int64_t units = (count + multiple - 1) / multiple;
    const int64_t share = (units + threads - 1) / threads * multiple;
    auto span = [&](int i) {
        const int64_t start = i * share, stop = std::min(count, start + share);
        if (start < stop) work(start, stop);
    };
    Pool& pool = pool_of(threads);
    std::unique_lock<std::mutex> mine(pool.busy, std::try_to_lock);
    if (!mine.owns_lock()) {
        for (int i = 0; i < threads; ++i) span(i);
        return;
    }
    pool.run([](void* context, int i) { (*static_cast<decltype(span)*>(context))(i); }, &span);
}

// work(i, n) for every i in [0, n), all at the same time: they may wait for each other. n is the number
// of threads, or 1 where another Python thread has them.
template <class Work>
static void together(int threads, Work&& work) {
    if (threads > 1) {
        Pool& pool = pool_of(threads);
        std::unique_lock<std::mutex> mine(pool.busy, std::try_to_lock);
        if (mine.owns_lock()) {
            auto one = [&](int i) { work(i, threads); };
            pool.run([](void* context, int i) { (*static_cast<decltype(one)*>(context))(i); }, &one);
            return;
        }
    }
    work(0, 1);
}
