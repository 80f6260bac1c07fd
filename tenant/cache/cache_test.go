package cache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"carillon/tenant/cache"
)

// source counts how often it is asked, and answers with that number.
type source struct{ asked atomic.Int64 }

func (s *source) load(context.Context, string) (int64, error) { return s.asked.Add(1), nil }

// The library's cleaner never ends, so a cache is made outside the bubble whose
// clock a test moves. Its own clock is the slower one, and cleans nothing.
const life = time.Hour

func TestAnswersAreKeptForTheirLife(t *testing.T) {
	t.Parallel()
	var s source
	c := cache.New(10, life, s.load)
	synctest.Test(t, func(t *testing.T) {
		want(t, c, "a", 1)
		time.Sleep(life - time.Second)
		want(t, c, "a", 1)
		time.Sleep(2 * time.Second)
		want(t, c, "a", 2)
	})
}

// Reading an answer does not make it younger.
func TestReadingDoesNotProlongLife(t *testing.T) {
	t.Parallel()
	var s source
	c := cache.New(10, life, s.load)
	synctest.Test(t, func(t *testing.T) {
		for range 10 {
			want(t, c, "a", 1)
			time.Sleep(life / 10)
		}
		time.Sleep(time.Second)
		want(t, c, "a", 2)
	})
}

func TestNumberOfAnswersIsBounded(t *testing.T) {
	t.Parallel()
	var s source
	c := cache.New(2, life, s.load)
	want(t, c, "a", 1)
	want(t, c, "b", 2)
	want(t, c, "a", 1)
	want(t, c, "c", 3) // b was not asked for longest
	want(t, c, "a", 1)
	want(t, c, "b", 4)
}

func TestOneQuestionForManyCallers(t *testing.T) {
	t.Parallel()
	const callers = 50
	var asked atomic.Int64
	var answer chan string
	c := cache.New(10, life, func(context.Context, string) (string, error) {
		asked.Add(1)
		return <-answer, nil
	})
	synctest.Test(t, func(t *testing.T) {
		answer = make(chan string)
		got := make(chan string, callers)
		for range callers {
			go func() {
				v, err := c.Get(t.Context(), "a")
				if err != nil {
					t.Error(err)
				}
				got <- v
			}()
		}
		synctest.Wait() // until all of them wait
		go func() { answer <- "the answer" }()
		for range callers {
			if v := <-got; v != "the answer" {
				t.Errorf("Get = %q", v)
			}
		}
	})
	if n := asked.Load(); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
}

func TestDifferentQuestionsDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := cache.New(10, life, func(_ context.Context, k string) (string, error) {
		if k == "slow" {
			<-release
		}
		return k, nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := c.Get(t.Context(), "slow")
		done <- err
	}()
	if v, err := c.Get(t.Context(), "fast"); err != nil || v != "fast" {
		t.Errorf("Get = %q, %v", v, err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFailuresAreNotKept(t *testing.T) {
	t.Parallel()
	errDown := errors.New("source is down")
	answers := []error{errDown, errDown, nil}
	c := cache.New(10, life, func(context.Context, string) (string, error) {
		err := answers[0]
		answers = answers[1:]
		return "up", err
	})
	for range 2 {
		if v, err := c.Get(t.Context(), "a"); !errors.Is(err, errDown) || v != "" {
			t.Errorf("Get = %q, %v, want the source's error", v, err)
		}
	}
	for range 2 { // the second from memory: there is no fourth answer
		if v, err := c.Get(t.Context(), "a"); err != nil || v != "up" {
			t.Errorf("Get = %q, %v", v, err)
		}
	}
}

func TestForgetAndClear(t *testing.T) {
	t.Parallel()
	var s source
	c := cache.New(10, life, s.load)
	want(t, c, "a", 1)
	want(t, c, "b", 2)
	c.Forget("a")
	c.Forget("never asked for")
	want(t, c, "b", 2)
	want(t, c, "a", 3)
	c.Clear()
	want(t, c, "a", 4)
	want(t, c, "b", 5)
}

// What a load found before Forget may be given to those who asked before it, and to
// nobody after it.
func TestForgetDuringLoad(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*cache.Cache[string, string]){
		"Forget": func(c *cache.Cache[string, string]) { c.Forget("a") },
		"Clear":  func(c *cache.Cache[string, string]) { c.Clear() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loading, release := make(chan struct{}), make(chan struct{})
			var asked atomic.Int64
			c := cache.New(10, life, func(context.Context, string) (string, error) {
				if asked.Add(1) > 1 {
					return "new", nil
				}
				close(loading)
				<-release
				return "old", nil
			})
			early := make(chan string, 1)
			go func() {
				v, _ := c.Get(t.Context(), "a")
				early <- v
			}()
			<-loading
			forget(c)
			if v, err := c.Get(t.Context(), "a"); err != nil || v != "new" {
				t.Errorf("asked after %s, during the old load: %q, %v", name, v, err)
			}
			close(release)
			if v := <-early; v != "old" {
				t.Errorf("asked before %s: %q", name, v)
			}
			if v, err := c.Get(t.Context(), "a"); err != nil || v != "new" {
				t.Errorf("asked after %s, after the old load: %q, %v", name, v, err)
			}
		})
	}
}

// A caller who gives up does not take the answer from the others, even if the
// question was first asked for her.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	var release chan struct{}
	c := cache.New(10, life, func(ctx context.Context, _ string) (string, error) {
		asked.Add(1)
		select {
		case <-release:
			return "answer", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	synctest.Test(t, func(t *testing.T) {
		release = make(chan struct{})
		ctx, giveUp := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		callers.Go(func() {
			if _, err := c.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller who gave up got %v", err)
			}
		})
		synctest.Wait()
		callers.Go(func() {
			if v, err := c.Get(t.Context(), "a"); err != nil || v != "answer" {
				t.Errorf("the caller who waited got %q, %v", v, err)
			}
		})
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(release)
		callers.Wait()
	})
	if n := asked.Load(); n != 1 {
		t.Errorf("the source was asked %d times", n)
	}
}

// A source that never answers is given up, so that the next caller asks anew.
func TestSourceThatNeverAnswers(t *testing.T) {
	t.Parallel()
	c := cache.New(10, life, func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get: %v, want a deadline", err)
		}
		if got := time.Since(start); got > time.Minute {
			t.Errorf("gave up after %s", got)
		}
	})
}

func want(t *testing.T, c *cache.Cache[string, int64], k string, load int64) {
	t.Helper()
	if v, err := c.Get(t.Context(), k); err != nil || v != load {
		t.Errorf("Get(%q) = the answer of load %d (%v), want that of load %d", k, v, err, load)
	}
}

// While changes are told, an answer outlives its shorter life; else it does not.
func TestWatched(t *testing.T) {
	t.Parallel()
	var alive atomic.Bool
	var loads atomic.Int64
	c := cache.NewWatched(10, time.Millisecond, time.Hour, alive.Load, func(context.Context, string) (int64, error) {
		return loads.Add(1), nil
	})
	get := func(k string, want int64) {
		t.Helper()
		if got, err := c.Get(t.Context(), k); got != want || err != nil {
			t.Errorf("%s: got %d, %v, want %d", k, got, err, want)
		}
	}
	alive.Store(true)
	get("a", 1)
	get("a", 1)
	get("b", 2)
	c.ForgetIf(func(k string, _ int64) bool { return k == "a" })
	get("b", 2)
	get("a", 3)
	c.Clear()
	get("b", 4)
	alive.Store(false)
	for got := int64(4); got == 4; {
		got, _ = c.Get(t.Context(), "b")
	}
}
