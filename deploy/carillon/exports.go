package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"carillon/tenant/export"
	"carillon/tenant/export/s3store"
)

// openExports opens the place of published files: a folder, or a bucket given as
// s3://bucket/folder/?endpoint=https://host&region=name. The bucket's credentials come
// from the environment, because command lines are visible.
func openExports(ctx context.Context, place string) (export.Store, error) {
	if !strings.HasPrefix(place, "s3://") {
		return export.NewFileStore(place)
	}
	c, err := parseBucket(place)
	if err != nil {
		return nil, err
	}
	c.AccessKey, c.SecretKey = os.Getenv("CARILLON_S3_ACCESS_KEY"), os.Getenv("CARILLON_S3_SECRET_KEY")
	if c.AccessKey == "" || c.SecretKey == "" {
		return nil, errors.New("set CARILLON_S3_ACCESS_KEY and CARILLON_S3_SECRET_KEY to the credentials of the bucket")
	}
	return s3store.New(ctx, c)
}

func parseBucket(place string) (s3store.Config, error) {
	u, err := url.Parse(place)
	if err != nil || u.Host == "" || u.User != nil {
		return s3store.Config{}, errors.New("the place of exports is not of the form s3://BUCKET/FOLDER/?endpoint=https://HOST")
	}
	endpoint, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" {
		return s3store.Config{}, fmt.Errorf("the place of exports names no endpoint: add ?endpoint=https://HOST to %s", u.Redacted())
	}
	c := s3store.Config{
		Endpoint: endpoint.Host, Secure: endpoint.Scheme == "https", Region: u.Query().Get("region"),
		Bucket: u.Host, Prefix: strings.TrimPrefix(u.Path, "/"),
	}
	if !export.ValidPrefix(c.Prefix) {
		return s3store.Config{}, errors.New("the folder in the bucket must end with a slash, and have lower-case letters, digits and hyphens")
	}
	return c, nil
}
