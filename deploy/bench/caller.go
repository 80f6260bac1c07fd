package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"
)

// caller is one keep-alive connection to the server, made when it is needed and made
// again after a failure. It is for one goroutine. It does little, because it shares
// the machine with what it measures.
type caller struct {
	address string
	conn    net.Conn // nil if there is none
	in      *bufio.Reader
	body    []byte // of a request
	out     []byte
	answer  []byte
	until   time.Time // when the connection's deadline is
}

const (
	dialTimeout    = 10 * time.Second
	requestTimeout = 30 * time.Second
	readAhead      = 16 << 10 // most answers come in one reading
)

func (c *caller) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), "tcp", c.address)
	if err != nil {
		return err
	}
	c.conn, c.in, c.until = conn, bufio.NewReaderSize(conn, readAhead), time.Time{}
	return nil
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// post sends a JSON body and returns the body of a 200, which is good until the
// next call.
func (c *caller) post(path, apiKey string, body []byte) ([]byte, error) {
	answer, err := c.exchange(path, apiKey, body)
	if err != nil {
		c.close()
	}
	return answer, err
}

func (c *caller) exchange(path, apiKey string, body []byte) ([]byte, error) {
	if err := c.connect(); err != nil {
		return nil, err
	}
	c.out = append(c.out[:0], "POST "...)
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.address...)
	c.out = append(c.out, "\r\nContent-Type: application/json\r\nAccept: application/json\r\n"...)
	if apiKey != "" {
		c.out = append(c.out, "X-Api-Key: "...)
		c.out = append(c.out, apiKey...)
		c.out = append(c.out, "\r\n"...)
	}
	c.out = append(c.out, "Content-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, body...)
	return c.swap(path)
}

// get reads the body of a 200.
func (c *caller) get(path string) error {
	if err := c.connect(); err != nil {
		return err
	}
	c.out = append(c.out[:0], "GET "...)
	c.out = append(c.out, path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.address...)
	c.out = append(c.out, "\r\n\r\n"...)
	_, err := c.swap(path)
	if err != nil {
		c.close()
	}
	return err
}

// swap sends what is to be sent, and receives the answer.
func (c *caller) swap(path string) ([]byte, error) {
	if now := time.Now(); c.until.Sub(now) < requestTimeout/2 {
		c.until = now.Add(requestTimeout)
		if err := c.conn.SetDeadline(c.until); err != nil {
			return nil, err
		}
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	return c.receive(path)
}

// receive reads an answer of HTTP/1.1 that has a length, as ours do. It looks at nothing
// but the status and the length.
func (c *caller) receive(path string) ([]byte, error) {
	status, length := "", -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if status == "" {
			status = string(bytes.TrimPrefix(line, []byte("HTTP/1.1 ")))
			continue
		}
		if text, is := bytes.CutPrefix(line, []byte("Content-Length: ")); is {
			if length, err = strconv.Atoi(string(text)); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, fmt.Errorf("%s: status %s, and no length", path, status)
	}
	c.answer = slices.Grow(c.answer[:0], length)[:length]
	if _, err := io.ReadFull(c.in, c.answer); err != nil {
		return nil, err
	}
	if status != "200 OK" {
		return nil, fmt.Errorf("%s: status %s: %.200s", path, status, c.answer)
	}
	return c.answer, nil
}

// member is a member of an answer, given as it stands there up to its value, which needs
// no escapes.
func member(answer []byte, name string) (string, error) {
	_, after, found := bytes.Cut(answer, []byte(name))
	value, _, ended := bytes.Cut(after, []byte(`"`))
	if !found || !ended {
		return "", errors.New("the answer has no " + name)
	}
	return string(value), nil
}
