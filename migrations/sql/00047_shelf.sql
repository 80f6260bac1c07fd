-- +goose Up

-- What was published, for staff: how many files, and how much a phone downloads.
grant select (file_no, size) on export_file to carillon_portal;
