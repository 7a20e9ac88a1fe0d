"""Recordings, without ROS: segment a bag into a bag, make a video and a report of it; play one."""
