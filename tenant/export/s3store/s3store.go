// Package s3store keeps published export files in an S3-compatible bucket.
//
// The bucket, or a CDN before it, may serve phones by itself: objects carry the type
// and the caching that phones need. What makes it safe is one promise of the server:
// a put with "If-None-Match: *" creates an object or fails, however many try at once.
// [New] does not take that on trust, it tries it.
package s3store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"carillon/tenant/export"
)

// Config says where the bucket is.
type Config struct {
	// Endpoint is host and port of the server, Secure whether it speaks TLS.
	Endpoint string
	Secure   bool
	// Region is the bucket's, as signatures name it.
	Region string
	// Bucket exists already; Prefix is empty or a folder in it, ending with a slash.
	Bucket, Prefix string
	// AccessKey and SecretKey are the credentials. They may put, read, list and delete
	// in the bucket and nothing else.
	AccessKey, SecretKey string
	// Transport carries requests; nil is the client's own.
	Transport http.RoundTripper
}

// Store is an [export.Store] in a bucket. It is safe for concurrent use.
type Store struct {
	client *minio.Client
	bucket string
	prefix string
}

// ErrUnconditional means that the server ignores conditions, so that two workers could
// overwrite each other's files.
var ErrUnconditional = errors.New("the object store does not keep to If-None-Match: files could be overwritten")

// attempts is how often a request is made before it counts as failed. Whoever calls
// tries again later.
const attempts = 3

// New returns the store after it has proved that the bucket is there, takes objects,
// and refuses to overwrite one: [ErrUnconditional] if it does not.
func New(ctx context.Context, c Config) (*Store, error) {
	if !export.ValidPrefix(c.Prefix) {
		return nil, fmt.Errorf("%w: prefix %q", export.ErrName, c.Prefix)
	}
	client, err := minio.New(c.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: c.Secure, Region: c.Region,
		Transport: c.Transport, MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	s := &Store{client: client, bucket: c.Bucket, prefix: c.Prefix}
	if err := s.prove(ctx); err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	return s, nil
}

// prove puts an object of a random name twice.
func (s *Store) prove(ctx context.Context) error {
	name := "probe-" + strings.ToLower(rand.Text())
	if err := s.put(ctx, name, []byte(name), true); err != nil {
		return err
	}
	err := s.put(ctx, name, []byte("overwritten"), true)
	gone := s.Delete(ctx, name)
	switch {
	case err == nil:
		return errors.Join(ErrUnconditional, gone)
	case !exists(err):
		return errors.Join(err, gone)
	}
	return gone
}

func (s *Store) key(name string) (string, error) {
	if !export.ValidName(name) {
		return "", fmt.Errorf("%w: %q", export.ErrName, name)
	}
	return s.prefix + name, nil
}

// put writes an object whole, with the headers that phones and caches need.
func (s *Store) put(ctx context.Context, name string, body []byte, absent bool) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	serving := export.ServingOf(name)
	options := minio.PutObjectOptions{
		ContentType: serving.Type, CacheControl: serving.Caching,
		DisableMultipart: true, // one request makes the object, or none does
	}
	if absent {
		options.SetMatchETagExcept("*")
	}
	_, err = s.client.PutObject(ctx, s.bucket, key, bytes.NewReader(body), int64(len(body)), options)
	return err
}

// PutIfAbsent implements [export.Store]. What is there decides, not what was answered: a
// server may break the connection of one who still sends what it has refused. While
// somebody else is making the object, the server refuses and has nothing to show yet: then
// there is a little to wait.
func (s *Store) PutIfAbsent(ctx context.Context, name string, body []byte) error {
	for pause := firstPause; ; pause *= 2 {
		failure := s.put(ctx, name, body, true)
		if failure == nil {
			return nil
		}
		err := s.same(ctx, name, body)
		switch {
		case err == nil, errors.Is(err, export.ErrConflict):
			return err
		case !exists(failure):
			return failure
		case !errors.Is(err, export.ErrNotFound):
			return err
		case pause > longestPause:
			return fmt.Errorf("%w: %s neither is there nor can be made", errUndecided, name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

const (
	firstPause   = 10 * time.Millisecond
	longestPause = 2 * time.Second
)

var errUndecided = errors.New("the object store cannot decide")

// exists reports whether the server refused because the object is there, or is being
// made by somebody else at this moment.
func exists(err error) bool {
	status := minio.ToErrorResponse(err).StatusCode
	return status == http.StatusPreconditionFailed || status == http.StatusConflict
}

// same compares what is there with what was to be put.
func (s *Store) same(ctx context.Context, name string, body []byte) error {
	o, err := s.Open(ctx, name)
	if err != nil {
		return err
	}
	defer o.Close()
	if o.Size() != int64(len(body)) {
		return export.ErrConflict
	}
	there, err := io.ReadAll(o)
	if err == nil && !bytes.Equal(there, body) {
		err = export.ErrConflict
	}
	return err
}

// Replace implements [export.Store].
func (s *Store) Replace(ctx context.Context, name string, body []byte) error {
	return s.put(ctx, name, body, false)
}

// Open implements [export.Store]. The object is fetched whole, so that it stays the
// same while it is read: small ones into memory, others into a file without a name.
func (s *Store) Open(ctx context.Context, name string) (export.Object, error) {
	key, err := s.key(name)
	if err != nil {
		return nil, err
	}
	reader, info, _, err := s.core().GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if missing(err) {
		return nil, export.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	content, err := keep(reader, info.Size)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return object{ReadSeekCloser: content, info: info}, nil
}

func (s *Store) core() minio.Core { return minio.Core{Client: s.client} }

func missing(err error) bool {
	return err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusNotFound
}

type object struct {
	io.ReadSeekCloser
	info minio.ObjectInfo
}

func (o object) Size() int64         { return o.info.Size }
func (o object) Modified() time.Time { return o.info.LastModified }

const (
	// maxInMemory is the largest object that is kept in memory while it is read.
	maxInMemory = 256 << 10
	// maxObject is more than the platforms take in one file, 16 MB.
	maxObject = 64 << 20
)

var errSize = errors.New("the object store announced another length")

// keep reads exactly size bytes and offers them for seeking.
func keep(r io.Reader, size int64) (io.ReadSeekCloser, error) {
	switch {
	case size < 0 || size > maxObject:
		return nil, errSize
	case size > maxInMemory:
		return keepInFile(r, size)
	}
	b, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(b)) != size {
		err = errSize
	}
	return memory{bytes.NewReader(b)}, err
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// keepInFile uses a file that has no name any more, so that it goes with the process.
func keepInFile(r io.Reader, size int64) (io.ReadSeekCloser, error) {
	f, err := os.CreateTemp("", "carillon-object-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		var n int64
		n, err = io.Copy(f, io.LimitReader(r, size+1))
		if err == nil && n != size {
			err = errSize
		}
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Delete implements [export.Store]. The protocol's own answer to deleting what is not
// there is success, so the object is looked for first.
func (s *Store) Delete(ctx context.Context, name string) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	_, err = s.client.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if missing(err) {
		return export.ErrNotFound
	}
	if err != nil {
		return err
	}
	return s.client.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
}

// List implements [export.Store].
func (s *Store) List(ctx context.Context, prefix string) ([]string, error) {
	if !export.ValidPrefix(prefix) {
		return nil, fmt.Errorf("%w: %q", export.ErrName, prefix)
	}
	var names []string
	for o := range s.client.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if name := strings.TrimPrefix(o.Key, s.prefix); export.ValidName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}
