//go:build release

package main

// developing is empty: a release has no commands that only development needs.
type developing struct{}
