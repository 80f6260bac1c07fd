package main

import (
	"testing"

	"carillon/tenant/export/s3store"
)

func TestParseBucket(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]s3store.Config{
		"s3://enx/?endpoint=https://s3.example&region=eu-1": {Endpoint: "s3.example", Secure: true, Region: "eu-1", Bucket: "enx"},
		"s3://enx/a/b/?endpoint=http://127.0.0.1:7070":      {Endpoint: "127.0.0.1:7070", Bucket: "enx", Prefix: "a/b/"},
		"s3://enx?endpoint=https://s3.example":              {Endpoint: "s3.example", Secure: true, Bucket: "enx"},
	} {
		if got, err := parseBucket(place); err != nil || got != want {
			t.Errorf("%s: %+v, %v", place, got, err)
		}
	}
	for _, place := range []string{
		"s3://", "s3:///x/?endpoint=https://s3.example", "s3://enx/", "s3://enx/?endpoint=s3.example", "s3://enx/?endpoint=ftp://s3.example",
		"s3://enx/folder?endpoint=https://s3.example", "s3://enx/../?endpoint=https://s3.example", "s3://key:secret@enx/?endpoint=https://s3.example",
	} {
		if _, err := parseBucket(place); err == nil {
			t.Errorf("%s: accepted", place)
		}
	}
}
