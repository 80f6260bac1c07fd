//go:build !linux

package api

import "time"

func nap(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // waiting is what cover traffic does
