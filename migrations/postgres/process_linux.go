package postgres

import "syscall"

// endWithParent has the kernel stop the server at once when its parent dies.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
