--
-- PostgreSQL database dump
--

\restrict 6u6w678axwJuhg5dgYeKWcXjvqrDN5UK5FR3M3ogPgdr8db1fFPuXLCg0Y8VNZT

-- Dumped from database version 17.12 (Debian 17.12-0+deb13u1)
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: plays; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.plays (
    film integer,
    "who's" text DEFAULT 'anna'::text
);
ALTER TABLE ONLY public.plays ALTER COLUMN film SET (pg_attver=48340376);
ALTER TABLE ONLY public.plays ALTER COLUMN "who's" SET (pg_attver=48340376, n_distinct=-0.5);


--
-- Data for Name: plays; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.plays (film, "who's") FROM stdin;
1	ALTER TABLE ONLY public.plays ALTER COLUMN film SET (pg_attver=1);
\.


--
-- PostgreSQL database dump complete
--

\unrestrict 6u6w678axwJuhg5dgYeKWcXjvqrDN5UK5FR3M3ogPgdr8db1fFPuXLCg0Y8VNZT

