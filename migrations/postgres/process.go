package postgres

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// exit is how a server process ended.
type exit struct{ err error }

// launch starts a server process. Its end is told to exits, once.
//
// The kernel ends the server when the thread that started it ends, so that
// goroutine keeps its thread until the server is gone.
func (p *Instance) launch(exits chan<- exit) {
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		// The process outlives any one caller; Stop ends it.
		cmd := p.command(context.Background(), p.config.BinDir.program("postgres"), p.serverArgs()...)
		endWithParent(cmd.SysProcAttr)
		log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			cmd.Stdout, cmd.Stderr = log, log
			err = cmd.Start()
		}
		if err == nil {
			p.setProcess(cmd.Process)
		}
		close(started)
		if err == nil {
			err = cmd.Wait()
			p.setProcess(nil)
		}
		exits <- exit{errors.Join(err, log.Close())}
	}()
	<-started
}

// PID is the server's process ID; zero while there is none.
func (p *Instance) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process == nil {
		return 0
	}
	return p.process.Pid
}

func (p *Instance) setProcess(process *os.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = process
}

func (p *Instance) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		_ = p.process.Signal(s) // it may just have ended
	}
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	steady     = time.Minute
)

// supervise starts the server again whenever it ends without being told to,
// after pauses that grow while it keeps ending.
func (p *Instance) supervise(exits chan exit) {
	defer close(p.done)
	pause := firstPause
	for {
		began := time.Now()
		select {
		case <-p.stop:
			p.signal(syscall.SIGINT) // Stop's own may have come between two processes
			<-exits
			return
		case <-exits:
		}
		if time.Since(began) > steady {
			pause = firstPause
		}
		select {
		case <-p.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
		p.launch(exits)
	}
}

const lastResort = 5 * time.Second

// Stop ends the server: at once for its clients, cleanly for its data. If ctx
// ends first the server is killed, which costs the next start a recovery.
func (p *Instance) Stop(ctx context.Context) error {
	p.stopped.Do(func() { close(p.stop) })
	for _, step := range []struct {
		signal os.Signal
		wait   <-chan struct{}
	}{
		{syscall.SIGINT, ctx.Done()}, // fast shutdown
		{syscall.SIGQUIT, after(lastResort)},
		{syscall.SIGKILL, nil},
	} {
		p.signal(step.signal)
		select {
		case <-p.done:
			return p.release()
		case <-step.wait:
		}
	}
	return p.release()
}

func after(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}

// kill ends a server that never became ready.
func (p *Instance) kill(exits <-chan exit) {
	p.mu.Lock()
	running := p.process != nil
	p.mu.Unlock()
	if running {
		p.signal(syscall.SIGQUIT)
		<-exits
	}
}

// release lets others use the folder.
func (p *Instance) release() error {
	if p.lock == nil {
		return nil
	}
	err := p.lock.Close()
	p.lock = nil
	if !strings.HasPrefix(p.socket, p.config.Dir) {
		err = errors.Join(err, os.RemoveAll(p.socket))
	}
	return err
}
