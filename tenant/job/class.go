package job

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/lib/pq"
)

// Failure is an error whose text is its class: a few fixed words.
type Failure string

func (f Failure) Error() string { return string(f) }

// Class is the text. Any error with such a method has a class of its own.
func (f Failure) Class() string { return string(f) }

// Class puts an error into one of few classes, which name nobody and quote nothing;
// empty for none. The log has the error itself.
func Class(err error) string {
	var (
		classed interface{ Class() string }
		answer  *pq.Error
		network net.Error
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &classed):
		return classed.Class()
	case errors.As(err, &answer):
		return "database: " + answer.Code.Name()
	case errors.Is(err, context.DeadlineExceeded):
		return "took too long"
	case errors.Is(err, context.Canceled):
		return "broken off"
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return "connection lost"
	default:
		return "other: see the log"
	}
}
