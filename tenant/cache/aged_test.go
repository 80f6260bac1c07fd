package cache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"carillon/tenant/cache"
)

func TestAged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := cache.NewAged[string, int](3, time.Minute)
		wants := func(k string, value int, there bool) {
			t.Helper()
			if v, ok := a.Get(k); v != value || ok != there {
				t.Errorf("%s: %d, %v; want %d, %v", k, v, ok, value, there)
			}
		}
		a.Add("x", 1)
		wants("x", 1, true)
		time.Sleep(time.Minute - time.Nanosecond)
		wants("x", 1, true)
		a.Add("y", 2)
		time.Sleep(time.Nanosecond)
		wants("x", 0, false) // its life is over, though it was used
		wants("y", 2, true)
		a.Add("y", 3)
		a.Add("z", 4)
		a.Add("u", 5)
		a.Add("v", 6) // beyond the size: y was not used for longest
		wants("y", 0, false)
		wants("z", 4, true)
		a.RemoveIf(func(_ string, v int) bool { return v == 4 })
		wants("z", 0, false)
		a.Remove("u")
		wants("u", 0, false)
		wants("v", 6, true)
		a.Purge()
		wants("v", 0, false)
	})
}

// What nobody asks for is dropped all the same: it may be a secret.
func TestAgedForgetsWhatNobodyAsksFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := cache.NewAged[string, int](10, time.Minute)
		a.Add("old", 1)
		time.Sleep(time.Minute)
		a.Add("new", 2)
		count := 0
		a.RemoveIf(func(string, int) bool { count++; return false })
		if count != 1 {
			t.Errorf("%d values kept, want the new one alone", count)
		}
	})
}

// What may not lie in memory is dropped though nobody asks for anything, what is used stays
// for its life, and in the end no timer is left.
func TestAgedDropsWhatIsIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		a := cache.NewAged[string, int](10, 10*idle)
		a.DropIdle(idle)
		kept := func() (n int) {
			a.RemoveIf(func(string, int) bool { n++; return false })
			return n
		}
		a.Add("idle", 1)
		a.Add("used", 2)
		for range 20 {
			time.Sleep(idle / 4)
			if _, ok := a.Get("used"); !ok {
				t.Fatal("what is used is dropped")
			}
		}
		if kept() != 1 {
			t.Errorf("%d values are kept, want the used one", kept())
		}
		for range 20 { // until its life is over, used or not
			time.Sleep(idle / 4)
			a.Get("used")
		}
		if kept() != 0 {
			t.Errorf("%d values are kept beyond their life", kept())
		}
		a.Add("last", 3)
		time.Sleep(idle + idle/4)
		if kept() != 0 {
			t.Error("an idle value is kept")
		}
	})
}
