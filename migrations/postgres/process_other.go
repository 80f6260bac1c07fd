//go:build unix && !linux

package postgres

import "syscall"

// endWithParent does nothing here: these systems have no such signal. A server
// left by a killed program is met by the next start, which says so.
func endWithParent(*syscall.SysProcAttr) {}
